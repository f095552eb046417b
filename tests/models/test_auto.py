import json
from pathlib import Path

import pytest
import transformers
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoTokenizer,
    BertConfig,
    BertTokenizer,
    ConvNextImageProcessorPil,
    GPT2Config,
    PreTrainedConfig,
    ResNetConfig,
)

import padnet_hf
from padnet_hf import PADBertConfig, PADNetError, PADResNetConfig
from padnet_hf.models import pad_bert
from padnet_hf.models.auto import pad_class_for
from padnet_hf.models.registration import register

CLASSES = [
    (config, auto_class, name)
    for config in (PADBertConfig, PADResNetConfig)
    for auto_class, name in config.auto_classes.items()
    if auto_class != "AutoConfig"
]
CLASS_NAMES = ("tokenizer_class", "processor_type")
SMALL = {
    PADBertConfig: {"hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 64, "num_hidden_layers": 1},
    PADResNetConfig: {"embedding_size": 8, "hidden_sizes": [16], "depths": [1], "layer_type": "basic"},
}


@pytest.mark.parametrize(("config", "auto_class", "name"), CLASSES)
def test_auto_classes_make_every_pad_model(config: type[PreTrainedConfig], auto_class: str, name: str) -> None:
    model = getattr(transformers, auto_class).from_config(config(**SMALL[config]))
    assert type(model) is getattr(padnet_hf, name)
    assert type(AutoConfig.for_model(config.model_type)) is config


def test_tokenizer_and_image_processor_are_those_of_the_stock_models(tmp_path: Path) -> None:
    register(PADBertConfig, vars(pad_bert))  # a second time, which changes nothing
    BertTokenizer({"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "fine": 4}).save_pretrained(tmp_path / "bert")
    ConvNextImageProcessorPil(size={"shortest_edge": 48}).save_pretrained(tmp_path / "resnet")
    PADBertConfig().save_pretrained(tmp_path / "bert")
    PADResNetConfig().save_pretrained(tmp_path / "resnet")
    for path in tmp_path.rglob("*.json"):  # as saved by others: without the names of the classes
        kept = {key: value for key, value in json.loads(path.read_text()).items() if not key.endswith(CLASS_NAMES)}
        path.write_text(json.dumps(kept))
    assert type(AutoTokenizer.from_pretrained(tmp_path / "bert")) is BertTokenizer
    assert type(AutoImageProcessor.from_pretrained(tmp_path / "resnet")) is ConvNextImageProcessorPil


@pytest.mark.parametrize(("config", "auto_class", "name"), CLASSES)
def test_a_dense_model_becomes_its_counterpart(config: type[PreTrainedConfig], auto_class: str, name: str) -> None:
    pad_class = getattr(padnet_hf, name)
    dense = config.dense_class(architectures=[pad_class.dense_class.__name__])
    assert pad_class_for(dense) is pad_class


@pytest.mark.parametrize("architectures", [None, [], ["BertForPreTraining"]])
def test_what_has_no_counterpart_becomes_a_bare_model(architectures: list[str] | None) -> None:
    assert pad_class_for(BertConfig(architectures=architectures)) is padnet_hf.PADBertModel
    assert pad_class_for(ResNetConfig(architectures=architectures)) is padnet_hf.PADResNetModel


@pytest.mark.parametrize("architecture", ["BertModel", "BertForMaskedLM", "BertForSequenceClassification"])
def test_a_classifier_where_one_is_asked_for(architecture: str) -> None:
    dense = BertConfig(architectures=[architecture])
    assert pad_class_for(dense, classifier=True) is padnet_hf.PADBertForSequenceClassification
    dense = ResNetConfig(architectures=["ResNetModel"])
    assert pad_class_for(dense, classifier=True) is padnet_hf.PADResNetForImageClassification


@pytest.mark.parametrize("dense", [GPT2Config(), PADBertConfig()])
def test_other_families_are_refused_with_those_that_work(dense: PreTrainedConfig) -> None:
    message = rf"model type '{dense.model_type}' has no PAD model; dense models of type 'bert', 'resnet' have"
    with pytest.raises(PADNetError, match=message):
        pad_class_for(dense)
