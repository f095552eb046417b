"""What partition leaves behind besides the partition: nothing."""

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from padnet_hf.errors import PADNetError
from padnet_hf.method.config import PartitionConfig
from padnet_hf.method.imp import partition
from padnet_hf.method.layer import pad_weights
from tests.method.toy import ToyModel, toy_batches


def _partition(model: ToyModel, batches: list[dict[str, Tensor]], **fields: Any) -> None:
    partition(model, batches, PartitionConfig(**fields), progress=False)


def _state(model: torch.nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def _same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def _random_states() -> tuple[object, ...]:
    """Of the global generators of Python, numpy and torch."""
    numpy_state = np.random.get_state()  # noqa: NPY002
    return random.getstate(), numpy_state[1].tolist(), numpy_state[2:], torch.get_rng_state().tolist()


class _Trace:
    """Everything about a model and the process that scoring could change."""

    def __init__(self, model: ToyModel) -> None:
        self.modes = {name: module.training for name, module in model.named_modules()}
        self.parameters = dict(model.named_parameters())
        self.flags = {name: p.requires_grad for name, p in self.parameters.items()}
        self.gradients = {name: p.grad for name, p in self.parameters.items()}
        self.gradient_values = {name: g.clone() for name, g in self.gradients.items() if g is not None}
        self.state = _state(model)
        self.forms = {name: (weight.granularity, weight.num_dynamic) for name, weight in pad_weights(model).items()}
        self.random = _random_states()

    def check(self, model: ToyModel, *, replaced: Callable[[str], bool] = lambda name: False) -> None:
        """Assert that `model` is as it was, parameters excepted whose names are `replaced`."""
        assert {name: module.training for name, module in model.named_modules()} == self.modes
        assert _random_states() == self.random
        now = dict(model.named_parameters())
        assert not any(p._post_accumulate_grad_hooks for p in [*now.values(), *self.parameters.values()])
        for name, parameter in self.parameters.items():
            assert parameter.requires_grad == self.flags[name]
            assert parameter.grad is self.gradients[name]
            if name in self.gradient_values:
                assert torch.equal(parameter.grad, self.gradient_values[name])
            if not replaced(name):
                assert now[name] is parameter
                assert torch.equal(parameter, self.state[name])

    def check_untouched(self, model: ToyModel) -> None:
        self.check(model)
        assert _same(_state(model), self.state)
        forms = {name: (weight.granularity, weight.num_dynamic) for name, weight in pad_weights(model).items()}
        assert forms == self.forms


def _model_in_mixed_state(**options: Any) -> ToyModel:
    """Training, but for one layer; two parameters frozen; gradients on some; random also in evaluation."""
    model = ToyModel(**options).train()
    model(**toy_batches(1)[0])["loss"].backward()
    model.layers[0].eval()
    model.head.weight.grad = None
    model.layers[1].router.weight.requires_grad_(False)
    model.layers[1].experts.up_proj.dynamic.requires_grad_(False)
    model.seen.training.clear()
    model.on_forward = lambda call: (torch.rand(1), random.random(), np.random.rand())  # noqa: NPY002
    return model


def test_success_leaves_no_trace_but_the_partition() -> None:
    model = _model_in_mixed_state()
    trace = _Trace(model)
    _partition(model, toy_batches(2))
    assert model.seen.training == [False] * 2 * (1 + 3)  # copies are weighed, and three rounds
    trace.check(model, replaced=lambda name: ".experts." in name)


def _interrupt(call: int, error: BaseException) -> Callable[[ToyModel, list[dict[str, Tensor]]], None]:
    def sabotage(model: ToyModel, batches: list[dict[str, Tensor]]) -> None:
        def on_forward(number: int) -> None:
            torch.rand(1)
            if number == call:
                raise error

        model.on_forward = on_forward

    return sabotage


def _spoil(index: int, value: float) -> Callable[[ToyModel, list[dict[str, Tensor]]], None]:
    def sabotage(model: ToyModel, batches: list[dict[str, Tensor]]) -> None:
        batches[index]["hidden"][0, 0, 0] = value

    return sabotage


def _unlabel(model: ToyModel, batches: list[dict[str, Tensor]]) -> None:
    del batches[1]["labels"]


def _refuse_record(model: ToyModel, batches: list[dict[str, Tensor]]) -> None:
    def record_partition(record: dict[str, Any]) -> None:
        raise OSError("disk full")

    model.record_partition = record_partition


def _fail_in_report(model: ToyModel, batches: list[dict[str, Tensor]]) -> None:
    def state() -> None:
        raise ZeroDivisionError

    model.layers[1].experts.up_proj.state = state


@pytest.mark.parametrize("granularity", ["element", "unit"])
@pytest.mark.parametrize("equal_copies", [True, False])
@pytest.mark.parametrize(
    ("sabotage", "error"),
    [
        (_spoil(0, float("nan")), PADNetError),
        (_spoil(2, float("inf")), PADNetError),
        (_unlabel, PADNetError),
        (_interrupt(0, KeyboardInterrupt()), KeyboardInterrupt),
        (_interrupt(2, KeyboardInterrupt()), KeyboardInterrupt),
        (_interrupt(4, KeyboardInterrupt()), KeyboardInterrupt),
        (_interrupt(7, RuntimeError("out of memory")), RuntimeError),
        (_refuse_record, OSError),
        (_fail_in_report, ZeroDivisionError),
    ],
    ids=["nan", "inf", "no loss", "interrupt 0", "interrupt 2", "interrupt in round 2", "memory", "record", "report"],
)
def test_an_error_or_interrupt_leaves_no_trace(
    granularity: str, equal_copies: bool, sabotage: Callable[..., None], error: type[BaseException]
) -> None:
    model, batches = _model_in_mixed_state(equal_copies=equal_copies), toy_batches(3)
    sabotage(model, batches)
    trace = _Trace(model)
    with pytest.raises(error):
        _partition(model, batches, granularity=granularity, num_rounds=3)
    trace.check_untouched(model)


def test_after_an_interrupt_the_partition_is_the_one_it_would_have_been() -> None:
    model, undisturbed = ToyModel(), ToyModel()
    _interrupt(5, KeyboardInterrupt())(model, [])
    with pytest.raises(KeyboardInterrupt):
        _partition(model, toy_batches(3))
    model.on_forward = lambda call: None
    _partition(model, toy_batches(3))
    _partition(undisturbed, toy_batches(3))
    assert _same(_state(model), _state(undisturbed))
