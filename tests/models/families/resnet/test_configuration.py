"""PADResNetConfig refuses what no model can be built from."""

from pathlib import Path

import pytest
import torch
from huggingface_hub.errors import StrictDataclassFieldValidationError
from transformers import AutoConfig, ResNetConfig

from padnet_hf import PADNetError, PADResNetConfig, PADResNetForImageClassification

TINY = {"layer_type": "basic", "embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1]}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"num_kernels": 0}, "num_kernels is 0, but must be at least 1"),
        ({"num_kernels": -4}, "num_kernels is -4, but must be at least 1"),
        ({"reduction": 0}, "reduction is 0, but must be at least 1"),
        ({"stem_kernel_size": 0}, "stem_kernel_size is 0, but must be at least 1"),
        ({"stem_stride": 0}, "stem_stride is 0, but must be at least 1"),
        ({"image_size": 0}, "image_size is 0, but must be at least 1"),
        ({"num_channels": 0}, "num_channels is 0, but must be at least 1"),
        ({"attention": "tanh"}, "attention is 'tanh', but must be one of sigmoid, softmax"),
        ({"temperature": 0}, "temperature is 0, but must be above 0 and finite"),
        ({"temperature": -1.0}, "temperature is -1.0, but must be above 0"),
        ({"temperature": float("nan")}, "temperature is nan, but must be above 0"),
        ({"temperature": float("inf")}, "temperature is inf, but must be above 0"),
        (
            {"hidden_sizes": [8], "depths": [1, 1]},
            r"hidden_sizes is \[8\], but must be one number for each stage of depths, which is \[1, 1\]",
        ),
    ],
)
def test_a_value_out_of_range_is_named_with_its_range(fields: dict[str, object], message: str) -> None:
    with pytest.raises(PADNetError, match=message):
        PADResNetConfig(**fields)


@pytest.mark.parametrize("fields", [{"num_kernels": "4"}, {"dynamic_layers": "encoder.*"}, {"stem_pool": "yes"}])
def test_a_value_of_another_type_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(StrictDataclassFieldValidationError, match=next(iter(fields))):
        PADResNetConfig(**fields)


def test_from_dense_takes_every_field_of_the_dense_configuration() -> None:
    stock = ResNetConfig(**TINY, num_labels=5, hidden_act="gelu", downsample_in_first_stage=True, num_channels=1)
    config = PADResNetConfig.from_dense(stock, num_kernels=2, temperature=30)
    assert (config.hidden_sizes, config.hidden_act, config.num_labels, config.num_kernels) == ([8, 16], "gelu", 5, 2)
    back = config.to_dense()
    assert type(back) is ResNetConfig
    differing = {key for key, value in back.to_dict().items() if stock.to_dict()[key] != value}
    assert not differing


def test_labels_may_be_changed_on_the_way_from_dense() -> None:
    labels = {"id2label": {0: "cat", 1: "dog"}, "label2id": {"cat": 0, "dog": 1}}
    config = PADResNetConfig.from_dense(ResNetConfig(num_labels=5), **labels)
    assert config.num_labels == 2
    assert config.id2label == {0: "cat", 1: "dog"}


def test_a_misspelt_field_is_not_swallowed() -> None:
    with pytest.raises(
        PADNetError, match=r"no field 'num_kernel'; its fields are those of ResNetConfig and .*num_kernels"
    ):
        PADResNetConfig.from_dense(ResNetConfig(), num_kernel=4)


def test_a_configuration_survives_its_file(tmp_path: Path) -> None:
    fields = {"dynamic_layers": ["encoder.*"], "stem_kernel_size": 3, "stem_stride": 1, "stem_pool": False}
    counts = {"dynamic_counts": {"a": 3}, "partition": {"granularity": "unit", "seed": 1}}
    config = PADResNetConfig(attention="sigmoid", temperature=3.5, reduction=4, **fields, **counts)
    config.save_pretrained(tmp_path)
    loaded = AutoConfig.from_pretrained(tmp_path)
    assert type(loaded) is PADResNetConfig
    assert loaded.to_dict() | {"_name_or_path": ""} == config.to_dict()


@pytest.mark.parametrize("fields", [{"stem_kernel_size": 3}, {"stem_stride": 1}, {"stem_pool": False}, {"fused": True}])
def test_a_stem_that_no_stock_model_has_is_not_exported(fields: dict[str, object]) -> None:
    PADResNetConfig().to_dense()
    with pytest.raises(PADNetError, match=rf"{next(iter(fields))}=.*no stock model is equal to it"):
        PADResNetConfig(**fields).to_dense()


@pytest.mark.parametrize("patterns", [["decoder.*"], ["encoder.*", "stages.0"], [""]])
def test_a_pattern_that_no_convolution_matches_is_named(patterns: list[str]) -> None:
    with pytest.raises(
        PADNetError, match=rf"no convolution is called '{patterns[-1]}'.*\(dynamic_layers\).*embedder\."
    ):
        PADResNetForImageClassification(PADResNetConfig(**TINY, dynamic_layers=patterns))


@pytest.mark.parametrize(
    ("patterns", "dynamic"),
    [
        (None, 6),
        ([], 0),
        (["*"], 7),
        (["embedder.*"], 1),
        (["encoder.stages.1.*"], 3),
        (["encoder.stages.?.layers.0.shortcut.convolution", "encoder.stages.0.*"], 4),
    ],
)
def test_patterns_choose_what_is_dynamic(patterns: list[str] | None, dynamic: int) -> None:
    config = PADResNetConfig(**(TINY | {"hidden_sizes": [16, 24]}), dynamic_layers=patterns)
    with torch.device("meta"):
        model = PADResNetForImageClassification(config)
    assert len(model.partition_report().layers) == dynamic
