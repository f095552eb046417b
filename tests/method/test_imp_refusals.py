"""What partition refuses, and what it says of a partition that may not be what was meant."""

import copy
import logging
import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from padnet_hf.errors import PADNetError
from padnet_hf.method import criteria
from padnet_hf.method.config import PartitionConfig
from padnet_hf.method.criteria import Scored, register_criterion
from padnet_hf.method.imp import partition
from padnet_hf.method.layer import pad_layers
from padnet_hf.method.weight import PADWeight
from tests.method.toy import ToyModel, toy_batches


def _partition(model: nn.Module, batches: Any = None, **fields: Any) -> None:
    partition(model, toy_batches(2) if batches is None else batches, PartitionConfig(**fields), progress=False)


def _refused(model: nn.Module, message: str, batches: Any = None, **fields: Any) -> None:
    """Assert that the partition is refused with this message, and the model is as it was."""
    before = copy.deepcopy(dict(model.state_dict()))
    with pytest.raises(PADNetError, match=message):
        _partition(model, batches, **fields)
    after = model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name].nan_to_num(7), after[name].nan_to_num(7)) for name in before)


class _Doubled(nn.Module):
    def forward(self, values: Tensor) -> Tensor:
        return 2 * values


class _Adapter(nn.Module):
    def __init__(self, base_layer: nn.Module) -> None:
        super().__init__()
        self.base_layer = base_layer


def _parametrized(model: ToyModel) -> None:
    parametrize.register_parametrization(model.layers[0].experts.down_proj, "dynamic", _Doubled())


def _adapted(model: ToyModel) -> None:
    experts = model.layers[0].experts
    experts.down_proj = _Adapter(experts.down_proj)


@pytest.mark.parametrize("wrap", [_parametrized, _adapted])
def test_wrapped_weights_are_refused(wrap: Callable[[ToyModel], None]) -> None:
    model = ToyModel()
    wrap(model)
    _refused(model, r"around 'layers\.0\.experts\.down_proj.*' of this ToyModel.*partition\(\) first, then add it")


def test_a_weight_outside_of_pad_layers_is_refused() -> None:
    model = ToyModel()
    model.own = PADWeight(2, (3, 3))
    _refused(model, r"PADWeight 'own' of this ToyModel is in no PAD layer.*subclass of .*PADLayer")


def test_a_single_dictionary_is_not_taken_for_batches() -> None:
    _refused(ToyModel(), r"one dictionary, with the keys \['hidden', 'labels'\].*\[batch\]", toy_batches(1)[0])


def test_a_model_may_refuse_for_reasons_of_its_own() -> None:
    model = ToyModel()

    def refuse() -> None:
        raise PADNetError("not today")

    model.check_before_partition = refuse
    _refused(model, "not today")


@pytest.mark.parametrize("granularity", ["element", "unit"])
@pytest.mark.parametrize("scope", ["global", "layer"])
def test_scores_that_are_all_zero_are_refused(granularity: str, scope: str) -> None:
    model = ToyModel()
    nn.init.zeros_(model.head.weight)
    _refused(
        model, r"all scores are zero.*Train the head.*'magnitude' or 'random'", granularity=granularity, scope=scope
    )


@pytest.mark.parametrize(("granularity", "expected"), [("element", 62.5), ("unit", 50)])  # units: 4 of 8 blocks
def test_ties_that_decide_are_told(granularity: str, expected: float, caplog: pytest.LogCaptureFixture) -> None:
    model = ToyModel(equal_copies=True)
    with caplog.at_level(logging.WARNING):
        _partition(model, granularity=granularity)
        assert not caplog.messages
        model = ToyModel(equal_copies=True)
        model.layers[1].register_forward_hook(lambda module, inputs, output: output.detach())
        _partition(model, granularity=granularity, dynamic_ratio=0.7, num_rounds=1)
    (message,) = caplog.messages
    share = float(re.match(r"([\d.]+) % of the candidates have one and the same score", message)[1])
    assert share == pytest.approx(expected, abs=1)


@pytest.mark.parametrize(
    ("score", "message"),
    [
        (lambda weight: weight.copies.sum(), r"gave torch.float64 of shape \(\) for copies of"),
        (lambda weight: weight.copies, r"gave torch.float64 of shape \(3, .*must give one real number"),
        (lambda weight: [1.0], "gave list for copies of"),
        (lambda weight: weight.copies[0] * torch.nan, "'mine' are not finite"),
    ],
)
@pytest.mark.parametrize("needs_gradients", [False, True])
def test_what_a_criterion_gives_is_checked(
    score: Callable[..., Any], message: str, needs_gradients: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(criteria, "_CRITERIA", dict(criteria._CRITERIA))
    register_criterion("mine", needs_gradients=needs_gradients)(score)
    _refused(ToyModel(), message, criterion="mine")


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.int64])
@pytest.mark.parametrize("needs_gradients", [False, True])
def test_a_criterion_may_give_numbers_of_any_kind(
    dtype: torch.dtype, needs_gradients: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(criteria, "_CRITERIA", dict(criteria._CRITERIA))

    @register_criterion("mine", needs_gradients=needs_gradients)
    def mine(weight: Scored) -> Tensor:
        return torch.arange(weight.copies[0].numel()).view(weight.copies.shape[1:]).to(dtype)

    model = ToyModel()
    _partition(model, criterion="mine", scope="layer", num_rounds=1)
    weight = model.layers[0].experts.up_proj
    assert weight.mask().tolist() == [i >= weight.shape.numel() // 2 for i in range(weight.shape.numel())]


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_weights_that_are_not_finite_are_refused(value: float) -> None:
    model = ToyModel()
    model.layers[0].experts.up_proj.dynamic.data[1, 2, 3] = value
    _refused(model, "scores of the criterion 'magnitude' are not finite", criterion="magnitude")


def test_partition_in_inference_mode_gives_a_model_that_trains() -> None:
    model, twin = ToyModel(), ToyModel()
    with torch.inference_mode():
        _partition(model)
    _partition(twin)
    for one in (model, twin):
        one.eval()(**toy_batches(1)[0])["loss"].backward()
    grads = [{n: p.grad for n, p in one.named_parameters() if p.grad is not None} for one in (model, twin)]
    assert grads[0].keys() == grads[1].keys()
    assert all(torch.equal(grads[0][name], grads[1][name]) for name in grads[0])


# Layers without anything dynamic


def _trained_without_gradient(model: ToyModel) -> list[str]:
    model.train()(**toy_batches(1)[0])["loss"].backward()
    return [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]


def test_what_routes_for_nothing_is_not_trained() -> None:
    model = ToyModel()
    assert not _trained_without_gradient(model)
    model.zero_grad()
    _partition(model, dynamic_ratio=0)
    assert not _trained_without_gradient(model)
    assert all(layer.routing_is_idle for layer in pad_layers(model).values())


def test_a_loaded_state_says_what_routes() -> None:
    dynamic, static = ToyModel().state_dict(), ToyModel()
    _partition(static, dynamic_ratio=0)
    model = ToyModel()
    model.load_state_dict(static.state_dict())
    assert not _trained_without_gradient(model)
    assert not model.layers[0].router.weight.requires_grad
    model.load_state_dict(dynamic)
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_a_router_frozen_on_purpose_stays_frozen() -> None:
    model = ToyModel()
    model.layers[0].router.requires_grad_(False)
    _partition(model)
    model.load_state_dict(model.state_dict())
    assert not model.layers[0].router.weight.requires_grad
    assert model.layers[1].router.weight.requires_grad


def test_another_way_to_undo_is_refused() -> None:
    with pytest.raises(PADNetError, match="undo is 'disk', but must be one of 'memory', 'file', 'none'"):
        partition(ToyModel(), toy_batches(1), undo="disk")
