"""The check before anything is measured on a GPU: it holds where nothing is wrong, and fails where something is."""

import copy
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn

from benchmarks import agreement
from benchmarks.agreement import (
    FORMS,
    GRADIENTS,
    LAYER,
    LIMITS,
    LIMITS_OF_HALVES,
    LOGITS,
    MASKS,
    MODELS,
    deviations,
    jobs,
    measure,
)
from benchmarks.comparison import DEVIATION
from padnet_hf.layers.experts import PADExperts
from padnet_hf.method import packing
from padnet_hf.method.layer import pad_weights
from padnet_hf.method.scoring import Batch


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", MODELS)
def test_a_model_in_float64_is_far_within_the_limits(
    name: str, form: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stands for a device that rounds differently."""
    to = agreement._to

    def converted(batch: Batch, model: nn.Module) -> Batch:
        dtype = next(model.parameters()).dtype
        return {name: t.to(dtype) if t.is_floating_point() else t for name, t in to(batch, model).items()}

    monkeypatch.setattr(agreement, "_to", converted)
    found = deviations(name, form, lambda model: copy.deepcopy(model).double())
    assert set(found) == ({LOGITS, GRADIENTS, MASKS} if form else {LOGITS, GRADIENTS})
    assert all(value < LIMITS[what] / 20 for what, value in found.items()), found
    assert found[GRADIENTS] > 0


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", ["gated experts", "plain experts"])
def test_so_is_what_runs_off_the_cpu(name: str, form: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    def copied(model: nn.Module) -> nn.Module:
        monkeypatch.setattr(packing, "is_batched", lambda device: True)
        other = copy.deepcopy(model)
        for experts in other.modules():
            if isinstance(experts, PADExperts):
                experts.implementation = "grouped_mm"
        return other

    found = deviations(name, form, copied)
    assert all(value < LIMITS[what] / 20 for what, value in found.items()), found


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", MODELS)
def test_models_run_where_they_are_whatever_the_default_device(name: str, form: str | None) -> None:
    """Nothing in a forward or backward pass, or in IMP, is made on a device that nobody asked for."""

    class Elsewhere(nn.Module):
        def __init__(self, model: nn.Module) -> None:
            super().__init__()
            self.model = model

        def forward(self, **batch: Tensor) -> object:
            with torch.device("meta"):
                return self.model(**batch)

        def named_parameters(self, *args: object, **options: object) -> Iterator[tuple[str, nn.Parameter]]:
            return self.model.named_parameters(*args, **options)

    found = deviations(name, form, lambda model: Elsewhere(copy.deepcopy(model)))
    assert set(found.values()) == {0.0}


def change_value(model: nn.Module) -> None:
    """One value of one copy, in place."""
    weight = list(pad_weights(model).values())[-1]
    with torch.no_grad():
        weight.values.view(-1)[0] += 1


def drop_scale(model: nn.Module) -> None:
    """A scale factor, as if it were one."""
    for weight in pad_weights(model).values():
        if weight.phi is not None:
            nn.init.zeros_(weight.phi)
            return


def _gradients_changed(change: Callable[[Tensor], Tensor]) -> Callable[[nn.Module], None]:
    """Gradients of one weight, when they are made."""

    def apply(model: nn.Module) -> None:
        next(iter(pad_weights(model).values())).values.register_hook(change)

    return apply


double_gradients = _gradients_changed(lambda gradient: gradient * 2)
lose_gradients = _gradients_changed(lambda gradient: gradient * torch.nan)


def freeze(model: nn.Module) -> None:
    """A parameter that gets no gradient."""
    next(iter(pad_weights(model).values())).values.requires_grad_(False)


@pytest.mark.parametrize(
    ("form", "spoil", "told"),
    [
        (None, change_value, "logits by"),
        ("element", change_value, "logits by"),
        ("unit", change_value, "logits by"),
        ("element", drop_scale, "logits by"),
        (None, double_gradients, "gradients by"),
        (None, lose_gradients, "gradients by inf"),
        (None, freeze, "gradients by inf"),
    ],
)
def test_what_is_wrong_ends_the_run(form: str | None, spoil: Callable[[nn.Module], None], told: str) -> None:
    def copied(model: nn.Module) -> nn.Module:
        other = copy.deepcopy(model)
        spoil(other)
        return other

    with pytest.raises(SystemExit, match=f"^error: on .*plain experts, {form or 'fully dynamic'}, does not.*{told}"):
        measure("plain experts", form, 1, "wall", copied)


@pytest.mark.parametrize("form", FORMS[1:])
def test_wrong_masks_end_the_run_though_all_else_agrees(form: str) -> None:
    def copied(model: nn.Module) -> nn.Module:
        other = copy.deepcopy(model)
        weights = [weight for weight in pad_weights(other).values() if weight.is_fully_dynamic]
        if len(weights) == len(pad_weights(other)):  # as it is before the partition
            with torch.no_grad():
                weights[0].dynamic.mul_(3)
        return other

    with pytest.raises(SystemExit, match=r"CPU: masks by [^,]*\. Nothing"):
        measure("gated experts", form, 1, "wall", copied)


def test_every_model_is_checked_in_every_form_and_nothing_is_below_epsilon() -> None:
    cases = [job.case for job in jobs()]
    assert len(cases) == (len(MODELS) + 1) * len(FORMS) == len({tuple(case.items()) for case in cases})
    found = measure("gated experts", None, 2, "wall")[DEVIATION]
    assert found[LOGITS] == [torch.finfo(torch.float32).eps] * 2


@pytest.mark.parametrize("form", FORMS)
def test_a_layer_in_bfloat16_is_checked_against_float32(form: str | None) -> None:
    found = measure(LAYER, form, 1, "wall")[DEVIATION]
    assert all(1e-3 < value < LIMITS_OF_HALVES[what] / 2 for what, (value,) in found.items()), found

    def copied(model: nn.Module) -> nn.Module:
        other = copy.deepcopy(model)
        with torch.no_grad():
            next(iter(pad_weights(other).values())).values[0].mul_(1.5)  # one copy
        return other

    with pytest.raises(SystemExit, match=LAYER):
        measure(LAYER, form, 1, "wall", copied)


def test_products_are_exact_meanwhile_and_as_before_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    backends = torch.backends.cuda.matmul, torch.backends.cudnn
    before = [backend.allow_tf32 for backend in backends]

    def look(*_: object) -> dict[str, float]:
        seen.extend(backend.allow_tf32 for backend in backends)
        return {LOGITS: 1.0}

    monkeypatch.setattr(agreement, "deviations", look)
    with pytest.raises(SystemExit):
        measure("plain experts", None, 1, "wall")
    assert seen == [False, False]
    assert [backend.allow_tf32 for backend in backends] == before
