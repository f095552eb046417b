from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch
from transformers import (
    AlbertConfig,
    BertConfig,
    BertForSequenceClassification,
    GPT2Config,
    RobertaConfig,
    ViTConfig,
)

from glue_arguments import DataArguments, ModelArguments, PADArguments
from glue_data import TextData
from glue_model import (
    build_model,
    check_length,
    check_model,
    label_fields,
    load_config,
    load_tokenizer,
    match_labels,
    model_source,
)
from padnet_hf import PADBertConfig, PADNetError
from padnet_hf.jobs.columns import Columns

MODEL = ModelArguments()
NAMED = {"id2label": {0: "good", 1: "bad"}, "label2id": {"good": 0, "bad": 1}}


def text_data(labels: list[str], names: tuple[str, ...] | None) -> TextData:
    table = pd.DataFrame({"text": "a", "label": labels})
    return TextData("files", "classification", {"train": table}, names)


def test_the_checkpoint_comes_before_the_name_and_the_name_before_the_default() -> None:
    named = ModelArguments(model_name_or_path="named")
    assert model_source(named, "checkpoint-1") == "checkpoint-1"
    assert model_source(named, None) == "named"
    assert model_source(MODEL, None).endswith("model")


@pytest.mark.parametrize("load", [load_config, load_tokenizer])
def test_a_model_that_is_not_there_names_the_option_for_local_folders(load) -> None:
    with pytest.raises(PADNetError, match=r"cannot load 'no/such-model'.*--model_name_or_path FOLDER"):
        load("no/such-model", MODEL)


def test_broken_weights_are_one_clear_error(tiny_bert: str, tmp_path: Path) -> None:
    for path in Path(tiny_bert).iterdir():
        content = path.read_bytes()
        (tmp_path / path.name).write_bytes(content[:5000] if path.suffix == ".safetensors" else content)
    config = load_config(str(tmp_path), MODEL)
    with pytest.raises(PADNetError, match=f"cannot load '{tmp_path}'"):
        build_model(str(tmp_path), config, MODEL, PADArguments(), {"num_labels": 2})


@pytest.mark.parametrize(
    ("config", "pad", "message"),
    [
        (GPT2Config(), {"use_pad": True}, "type 'gpt2' has no PAD model; dense models of type 'albert', 'bert', "),
        (ViTConfig(), {"use_moe": True}, "type 'vit', which classifies no text"),
        (AlbertConfig(), {"use_pad": True, "moe_layers": [0]}, "the layers of 'albert' share their weights"),
        (BertConfig(), {"use_moe": True, "num_experts_per_tok": 9}, "num_experts_per_tok is 9.*1 to num_experts"),
        (BertConfig(), {"use_moe": True, "moe_layers": [12]}, r"moe_layers is \[12\].*0 to 11"),
        (BertConfig(), {"experts_implementation": "eager"}, "--experts_implementation eager has no effect"),
        (
            PADBertConfig(partition={"dynamic_ratio": 0.3}),
            {"use_pad": True},
            r"already \(dynamic_ratio 0.3\).*--use_pad",
        ),
        (PADBertConfig(num_experts=4), {"use_pad": True, "num_experts": 8}, "--num_experts is 8, but 'm' has 4"),
    ],
)
def test_models_that_cannot_become_what_is_asked_for(config, pad: dict, message: str) -> None:
    with pytest.raises(PADNetError, match=message):
        check_model(config, "m", PADArguments(**pad), resuming=False)


@pytest.mark.parametrize(
    ("config", "pad"),
    [
        (RobertaConfig(), {}),
        (BertConfig(), {"use_pad": True}),
        (PADBertConfig(num_experts=4), {"use_pad": True}),
        (PADBertConfig(partition={"dynamic_ratio": 0.3}), {}),
    ],
)
def test_models_that_can(config, pad: dict) -> None:
    check_model(config, "m", PADArguments(**pad), resuming=False)


def test_a_checkpoint_of_another_kind_is_refused() -> None:
    with pytest.raises(PADNetError, match="'m' is dense, but asked for is partitioned"):
        check_model(BertConfig(), "m", PADArguments(use_pad=True), resuming=True)


@pytest.mark.parametrize("length", [7, 65])
def test_lengths_the_model_cannot_take(length: int, tiny_bert: str) -> None:
    config, tokenizer = load_config(tiny_bert, MODEL), load_tokenizer(tiny_bert, MODEL)
    with pytest.raises(PADNetError, match=f"--max_seq_length is {length}, but this model takes 8 to 64"):
        check_length(config, tokenizer, DataArguments(max_seq_length=length))


def test_labels_take_the_order_of_the_data() -> None:
    fields = label_fields(text_data(["x", "y"], ("x", "y")), BertConfig(), training=True)
    assert fields["label2id"] == {"x": 0, "y": 1}


def test_a_model_trained_on_the_same_labels_keeps_its_numbers() -> None:
    for training in (True, False):
        fields = label_fields(text_data(["bad", "good"], ("bad", "good")), BertConfig(**NAMED), training=training)
        assert fields["id2label"] == {0: "good", 1: "bad"}


def test_without_training_data_the_model_brings_the_labels() -> None:
    assert label_fields(text_data(["bad"], None), BertConfig(**NAMED), training=False)["label2id"] == NAMED["label2id"]
    with pytest.raises(PADNetError, match="labels are not known: give --train_file"):
        label_fields(text_data(["bad"], None), BertConfig(), training=False)


@pytest.mark.parametrize(("labels", "matched"), [(["bad", "good"], ["bad", "good"]), ([1, 0], ["bad", "good"])])
def test_a_model_that_is_not_trained_takes_its_own_names_or_their_numbers(labels: list, matched: list[str]) -> None:
    data = match_labels(text_data(labels, None), BertConfig(**NAMED))
    assert data.splits["train"]["label"].tolist() == matched


def test_labels_that_the_model_does_not_know_are_named_with_file_column_and_row() -> None:
    data = replace(text_data(["bad", "odd"], None), sources={"train": "a.csv"}, columns=Columns(("text",), "verdict"))
    with pytest.raises(PADNetError, match=r"a\.csv has the label 'odd'.*'good', 'bad'; correct row 2"):
        match_labels(data, BertConfig(**NAMED))
    gap = replace(data, splits={"train": pd.DataFrame({"text": "a", "label": ["bad", ""]})})
    with pytest.raises(PADNetError, match=r"a\.csv, row 2: column 'verdict' holds None, where a label is needed"):
        match_labels(gap, BertConfig(**NAMED))


@pytest.mark.parametrize("labels", [["odd", "bad"], ["", "bad"], [-1, -1], [["bad"], ["good"]]])
def test_a_test_split_that_cannot_be_measured_is_predicted_all_the_same(labels: list) -> None:
    table = pd.DataFrame({"text": "a", "label": labels})
    data = match_labels(TextData("files", "classification", {"test": table}, None), BertConfig(**NAMED))
    assert list(data.splits["test"]) == ["text"]


def test_a_regression_has_one_output() -> None:
    data = TextData("stsb", "stsb", {}, None)
    assert label_fields(data, BertConfig(**NAMED), training=True) == {"num_labels": 1, "problem_type": "regression"}


def test_the_three_networks_start_with_the_same_logits(tiny_bert: str) -> None:
    config = load_config(tiny_bert, MODEL)
    ids = torch.arange(1, 21).reshape(2, 10)
    logits = {}
    for pad in (PADArguments(), PADArguments(use_moe=True), PADArguments(use_pad=True, experts_implementation="eager")):
        torch.manual_seed(3)
        model = build_model(tiny_bert, config, MODEL, pad, {"num_labels": 3, "problem_type": None}).eval()
        logits[pad.variant] = model(ids).logits
    assert logits["dense"].shape == (2, 3)
    assert torch.allclose(logits["dense"], logits["fully dynamic"], atol=1e-5)
    assert torch.allclose(logits["dense"], logits["partitioned"], atol=1e-5)


def test_a_head_for_other_labels_is_replaced_in_a_dense_model_only(tiny_bert: str, tmp_path: Path) -> None:
    fields = {"num_labels": 3}
    config = load_config(tiny_bert, MODEL)
    assert isinstance(build_model(tiny_bert, config, MODEL, PADArguments(), fields), BertForSequenceClassification)
    build_model(tiny_bert, config, MODEL, PADArguments(use_moe=True), fields).save_pretrained(tmp_path)
    with pytest.raises(PADNetError, match="head for 3 labels, but the data has 2"):
        build_model(str(tmp_path), load_config(str(tmp_path), MODEL), MODEL, PADArguments(), {"num_labels": 2})
