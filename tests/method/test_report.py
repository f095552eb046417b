import json
from typing import Any

import pytest
import torch
from torch import Tensor

from padnet_hf.layers.feed_forward import PADFeedForward
from padnet_hf.method.config import PartitionConfig
from padnet_hf.method.imp import partition
from padnet_hf.method.report import PartitionReport, Size, report
from padnet_hf.method.work import count_work
from tests.method.toy import ToyModel, toy_batches

# hidden 4, inner 24 and 40, 3 experts, 2 chosen; a router has 2 * 3 * 4 parameters, the head 4 * 3 + 3
ELEMENTS = {"layers.0": 2 * 4 * 24 + 24 + 4, "layers.1": 2 * 4 * 40 + 40 + 4}
ROUTER, HEAD = 24, 15

FORMS: list[dict[str, Any]] = [
    {"dynamic_ratio": 1},
    {"dynamic_ratio": 0},
    {"dynamic_ratio": 0.3},
    {"dynamic_ratio": 0.5, "granularity": "unit"},
    {"dynamic_ratio": 0.3, "granularity": "unit", "scope": "layer"},
]


def _partitioned(fields: dict[str, Any], dtype: torch.dtype = torch.float64) -> tuple[ToyModel, PartitionReport]:
    model = ToyModel(dtype=dtype)
    return model, partition(model, toy_batches(1, dtype), PartitionConfig(**fields), progress=False)


def _num_bytes(tensors: list[Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


@pytest.mark.parametrize("fields", FORMS, ids=str)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_current_sizes_are_a_direct_count_of_tensors(fields: dict[str, Any], dtype: torch.dtype) -> None:
    model, sizes = _partitioned(fields, dtype)
    assert sizes.current.parameters == sum(parameter.numel() for parameter in model.parameters())
    assert sizes.current.bytes == _num_bytes(list(model.state_dict().values()))
    for layer in sizes.layers:
        module = model.get_submodule(layer.name)
        assert layer.current.parameters == sum(parameter.numel() for parameter in module.parameters())
        assert layer.current.bytes == _num_bytes(list(module.state_dict().values()))


@pytest.mark.parametrize("fields", FORMS, ids=str)
def test_the_sizes_it_lies_between_do_not_depend_on_the_partition(fields: dict[str, Any]) -> None:
    _, sizes = _partitioned(fields)
    work = {name: 2 * 4 * inner for name, inner in (("layers.0", 24), ("layers.1", 40))}
    for layer in sizes.layers:
        elements = ELEMENTS[layer.name]
        assert layer.dense == Size(elements, 8 * elements, work[layer.name])
        copies = 3 * elements + ROUTER
        assert layer.fully_dynamic == Size(copies, 8 * copies, 2 * work[layer.name])
    dense = sum(ELEMENTS.values()) + HEAD
    assert sizes.dense == Size(dense, 8 * dense, sum(work.values()))
    full = 3 * sum(ELEMENTS.values()) + 2 * ROUTER + HEAD
    assert sizes.fully_dynamic == Size(full, 8 * full, 2 * sum(work.values()))


def test_a_fully_dynamic_model_is_its_own_upper_bound() -> None:
    model = ToyModel()
    for sizes in (report(model), *report(model).layers):
        assert sizes.current == sizes.fully_dynamic
        assert sizes.dynamic_ratio == 1


def test_a_static_model_is_dense_but_for_its_routers() -> None:
    _, sizes = _partitioned({"dynamic_ratio": 0})
    assert sizes.dynamic_ratio == 0
    assert sizes.current == sizes.dense + Size(2 * ROUTER, 8 * 2 * ROUTER, 0)


@pytest.mark.parametrize("kappa", [0.1, 0.5, 0.9])
def test_element_partition_takes_the_bytes_of_the_formula(kappa: float) -> None:
    model = ToyModel(dtype=torch.float32)
    sizes = partition(model, toy_batches(1, torch.float32), PartitionConfig(kappa, criterion="snip"), progress=False)
    total = sum(ELEMENTS.values())
    dynamic = round(kappa * total)
    weights = [weight for layer in sizes.layers for weight in layer.weights.values()]
    packed = [ratio for ratio in weights if 0 < ratio < 1]
    stored = 3 * dynamic + (total - dynamic) + len(packed)  # and one scale factor for each of these
    assert sizes.current.parameters == stored + 2 * ROUTER + HEAD
    masks = sizes.current.bytes - 4 * sizes.current.parameters
    assert total / 8 * 0.9 < masks < total / 8 + len(weights)


def test_ratios_are_dynamic_elements_by_elements_at_every_level() -> None:
    model, sizes = _partitioned({"dynamic_ratio": 0.3})
    dynamic = 0
    for layer in sizes.layers:
        experts = model.get_submodule(layer.name).experts
        counts = {name: weight.num_dynamic for name, weight in experts.named_children() if hasattr(weight, "phi")}
        elements = {"up_proj": 4, "up_proj_bias": 1, "down_proj": 4}
        inner = experts.up_proj.shape[0]
        for name, count in counts.items():
            size = elements[name] * inner if name in elements else 4
            assert layer.weights[f"experts.{name}"] == count / size
        assert layer.dynamic_ratio == sum(counts.values()) / ELEMENTS[layer.name]
        dynamic += sum(counts.values())
    assert sizes.dynamic_ratio == dynamic / sum(ELEMENTS.values())


def test_unit_partition_saves_multiply_adds_and_element_partition_does_not() -> None:
    model, units = _partitioned({"dynamic_ratio": 0.5, "granularity": "unit"})
    work = 0
    for layer in model.layers:
        dynamic, inner = layer.experts.up_proj.num_dynamic, layer.experts.up_proj.shape[0]
        work += 2 * 4 * (2 * dynamic + (inner - dynamic))
    assert units.current.multiply_adds == work < units.fully_dynamic.multiply_adds
    _, elements = _partitioned({"dynamic_ratio": 0.5})
    assert elements.current.multiply_adds == elements.fully_dynamic.multiply_adds


def test_tied_parameters_count_once() -> None:
    model = ToyModel()
    before = report(model).current
    model.tied_head = torch.nn.Linear(4, 3)
    model.tied_head.weight, model.tied_head.bias = model.head.weight, model.head.bias
    assert report(model).current == before


def test_sizes_can_be_had_on_the_meta_device() -> None:
    model, sizes = _partitioned({"dynamic_ratio": 0.3}, torch.float32)
    work = count_work(model.to("meta"), toy_batches(1, torch.float32)[0])
    assert report(model, work=work).current == sizes.current


def test_what_is_not_known_is_not_made_up() -> None:
    sizes = report(ToyModel())
    assert sizes.current.multiply_adds is sizes.dense.multiply_adds is sizes.layers[0].current.multiply_adds is None
    assert str(sizes).splitlines()[-1].endswith(" -")


@pytest.mark.parametrize("fields", FORMS, ids=str)
def test_to_dict_survives_json(fields: dict[str, Any]) -> None:
    _, sizes = _partitioned(fields)
    plain = json.loads(json.dumps(sizes.to_dict(), allow_nan=False))
    assert plain["current"]["parameters"] == sizes.current.parameters
    assert plain["record"] == sizes.record
    assert [layer["name"] for layer in plain["layers"]] == ["layers.0", "layers.1"]


def test_the_table_has_a_row_for_every_layer_and_the_whole_model() -> None:
    _, sizes = _partitioned({"dynamic_ratio": 0.5, "granularity": "unit"})
    lines = str(sizes).splitlines()
    for layer in sizes.layers:
        (row,) = [line for line in lines if line.startswith(layer.name)]
        assert f"{layer.dynamic_ratio:.3f}" in row
        assert f"{layer.fully_dynamic.parameters / 1e6:.2f}M -> {layer.current.parameters / 1e6:.2f}M" in row
    (whole,) = [line for line in lines if line.startswith("whole model")]
    assert f"{sizes.dynamic_ratio:.3f}" in whole
    assert len({len(line) for line in lines}) == 1  # columns line up


def test_a_model_without_pad_layers_has_an_empty_report() -> None:
    empty = report(torch.nn.Linear(3, 2))
    assert empty.layers == ()
    assert empty.current == empty.dense == empty.fully_dynamic == Size(8, 32, 0)
    assert "whole model" in str(empty)


def test_layers_come_in_the_order_of_the_model() -> None:
    model = ToyModel()
    names = [name for name, module in model.named_modules() if isinstance(module, PADFeedForward)]
    assert [layer.name for layer in report(model).layers] == names
