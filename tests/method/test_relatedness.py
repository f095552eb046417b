import copy
import logging
import re
from typing import Any

import pytest
import torch
from torch import nn

from padnet_hf.method.config import PartitionConfig
from padnet_hf.method.imp import partition
from padnet_hf.method.layer import pad_weights
from padnet_hf.method.relatedness import advice, of_tensors, relatedness
from tests.method.toy import ToyModel, toy_batches


def _partition(model: ToyModel, **fields: Any) -> None:
    partition(model, toy_batches(2), PartitionConfig(**fields), progress=False)


def test_copies_that_differ_are_told_with_how_far(caplog: pytest.LogCaptureFixture) -> None:
    model = ToyModel()
    for weight in pad_weights(model).values():
        nn.init.constant_(weight.dynamic, 1.0)
    pad_weights(model)["layers.0.experts.up_proj"].dynamic.data[0] = 2
    elements = sum(weight.shape.numel() for name, weight in pad_weights(model).items() if name.startswith("layers.0."))
    apart, energy = 24 * 4 * (2 / 3), 3 * elements + 24 * 4 * 3
    assert relatedness(model) == {"layers.0": pytest.approx(apart / energy), "layers.1": 0}
    with caplog.at_level(logging.WARNING):
        _partition(copy.deepcopy(model), dynamic_ratio=1)
        assert not caplog.messages
        _partition(model, criterion="random")
    (message,) = caplog.messages
    assert f"by up to {100 * apart / energy:.2g} % of a layer's energy" in message


def test_a_layer_by_itself_is_a_model_too() -> None:
    layer = ToyModel().layers[0]
    assert relatedness(layer) == {"": pytest.approx(relatedness(nn.ModuleList([layer]))["0"])}


def test_copies_that_are_equal_are_not_told_of(caplog: pytest.LogCaptureFixture) -> None:
    model = ToyModel(equal_copies=True)
    assert relatedness(model) == {"layers.0": 0, "layers.1": 0}
    with caplog.at_level(logging.WARNING):
        _partition(model)
    assert not caplog.messages


def test_unrelated_copies_are_as_far_apart_as_can_be() -> None:
    copies = torch.randn(4, 200, 200, generator=torch.Generator().manual_seed(0))
    assert of_tensors([("a.dynamic", copies), ("b.dynamic", copies)], ["a"]) == {"a": pytest.approx(3 / 4, abs=0.01)}


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"a": 0.0, "b": 0.0}, "all copies are equal"),
        ({"a": 0.001, "b": 0.12}, r"relatives \(at most 0\.12, strangers have 0\.875\)"),
        ({"a": 0.001, "b": 0.87}, r"strangers in some layers \(up to 0\.87; 0\.875 is as far as can be\)"),
    ],
)
def test_what_follows_is_said(values: dict[str, float], sentence: str) -> None:
    assert re.search(sentence, advice(values, num_copies=8))


def test_of_a_partitioned_model_the_dynamic_values_count() -> None:
    model = ToyModel()
    before = relatedness(model)
    _partition(model, criterion="random")
    after = relatedness(model)
    assert after.keys() == before.keys()
    assert all(value > 0 for value in after.values())
    _partition(static := ToyModel(), dynamic_ratio=0)
    assert relatedness(static) == {}
