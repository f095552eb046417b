"""Masks of each copy: what is chosen, what becomes of it, and what is refused."""

import copy
import logging
from typing import Any

import pytest
import torch
from torch import Tensor

from padnet_hf.errors import PADNetError
from padnet_hf.method import criteria
from padnet_hf.method.config import PartitionConfig
from padnet_hf.method.imp import partition
from padnet_hf.method.layer import pad_weights
from padnet_hf.method.relatedness import relatedness
from padnet_hf.method.report import PartitionReport
from padnet_hf.method.selection import select_own_elements, sum_by_rank
from tests.method.reference_imp import reference_masks, reference_static_values
from tests.method.toy import ToyModel, toy_batches

LEFT_OUT = {"granularity": "unit", "static_values": "none"}
NUM_ELEMENTS = sum(2 * 4 * inner + inner + 4 for inner in (24, 40))


def split(model: ToyModel, batches: Any = None, **fields: Any) -> PartitionReport:
    return partition(model, batches, PartitionConfig(masks="per_copy", **fields), progress=False)


def copies_of(model: ToyModel) -> dict[str, Tensor]:
    return {name: weight.dynamic.detach().clone() for name, weight in pad_weights(model).items()}


@pytest.mark.parametrize("scope", ["global", "layer"])
@pytest.mark.parametrize("num_rounds", [1, 3])
@pytest.mark.parametrize("criterion", ["snip", "fisher"])
@pytest.mark.parametrize("static_branch", ["drop", "keep"])
def test_every_copy_keeps_the_elements_of_a_slow_dense_reference(
    scope: str, num_rounds: int, criterion: str, static_branch: str
) -> None:
    fields = {"dynamic_ratio": 0.4, "scope": scope, "num_rounds": num_rounds, "criterion": criterion}
    config = PartitionConfig(masks="per_copy", static_branch=static_branch, static_values="fisher", **fields)
    model, batches = ToyModel(), toy_batches(3)
    theta, static = copies_of(model), reference_static_values(model, batches)
    masks = reference_masks(model, batches, config, static)
    partition(model, batches, config, progress=False)
    for name, weight in pad_weights(model).items():
        mask = masks[name].flatten(1)
        assert mask.sum(dim=1).tolist() == [weight.num_dynamic_elements] * 3
        if weight.is_fully_dynamic:
            continue
        torch.testing.assert_close(weight.static.flatten(), static[name].flatten(), rtol=1e-5, atol=1e-6)
        if not weight.is_static:
            assert torch.equal(weight.mask(), mask)
            kept = [copy.flatten()[own] for copy, own in zip(theta[name], mask, strict=True)]
            assert torch.equal(weight.dynamic, torch.stack(kept))


@pytest.mark.parametrize("scope", ["global", "layer"])
@pytest.mark.parametrize("num_rounds", [1, 3])
@pytest.mark.parametrize("criterion", ["snip", "fisher"])
def test_every_copy_keeps_the_units_of_a_slow_dense_reference_and_no_others(
    scope: str, num_rounds: int, criterion: str
) -> None:
    fields = {"dynamic_ratio": 0.4, "scope": scope, "num_rounds": num_rounds, "criterion": criterion}
    config = PartitionConfig(masks="per_copy", **LEFT_OUT, **fields)
    model, batches = ToyModel(), toy_batches(3)
    theta = copies_of(model)
    nothing = {name: torch.zeros_like(values[0]) for name, values in theta.items()}
    masks = reference_masks(model, batches, config, nothing)
    partition(model, batches, config, progress=False)
    smaller = 0
    for name, weight in pad_weights(model).items():
        mask = masks[name].expand_as(theta[name])
        assert weight.static is None
        kept = [copy[own].flatten() for copy, own in zip(theta[name], mask, strict=True)]
        assert torch.equal(weight.dynamic.flatten(1), torch.stack(kept))
        assert weight.state().keys() == {"dynamic"}
        smaller += weight.leaves_out
    assert smaller == 6


def test_without_their_units_experts_compute_what_they_would_with_zeros_there() -> None:
    model, batches = ToyModel(), toy_batches(2)
    whole = copy.deepcopy(model).eval()
    config = PartitionConfig(masks="per_copy", num_rounds=1, **LEFT_OUT)
    masks = reference_masks(model, batches, config.resolved(True), {n: v[0] * 0 for n, v in copies_of(model).items()})
    with torch.no_grad():
        for name, weight in pad_weights(whole).items():
            weight.dynamic.mul_(masks[name])
    partition(model.eval(), batches, config, progress=False)
    results = []
    for one in (model, whole):
        output = one(**batches[0])
        output["loss"].backward()
        results.append((output["logits"], pad_weights(one)["layers.0.experts.down_proj_bias"].dynamic.grad))
    for found, expected in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-9)  # gates are float32


@pytest.mark.parametrize("kappa", [0.0, 0.001, 0.3, 0.9, 1.0])
@pytest.mark.parametrize("criterion", ["snip", "magnitude", "random"])
def test_counts_are_exact_and_one_static_value_stands_for_all_elements(kappa: float, criterion: str) -> None:
    model = ToyModel()
    report = split(model, toy_batches(2), dynamic_ratio=kappa, criterion=criterion)
    weights = list(pad_weights(model).values())
    assert sum(weight.num_dynamic for weight in weights) == round(kappa * NUM_ELEMENTS)
    assert report.dynamic_ratio == round(kappa * NUM_ELEMENTS) / NUM_ELEMENTS
    for weight in weights:
        assert weight.is_fully_dynamic or weight.static.numel() == weight.shape.numel()
        if weight.phi is not None:
            assert weight.mask_bits.shape == (3, -(-weight.shape.numel() // 8))
    stored = sum(tensor.numel() for weight in weights for tensor in weight.parameters())
    partly = sum(weight.phi is not None for weight in weights)
    static = sum(weight.shape.numel() for weight in weights if not weight.is_fully_dynamic)
    assert stored == 3 * round(kappa * NUM_ELEMENTS) + static + partly


@pytest.mark.parametrize("criterion", ["snip", "magnitude", "random"])
@pytest.mark.parametrize("kappa", [0.0, 0.3, 1.0])
def test_equal_copies_give_what_they_gave_before(criterion: str, kappa: float) -> None:
    model, batches = ToyModel(equal_copies=True).eval(), toy_batches(2)
    before = model(**batches[0])["logits"]
    split(model, batches, criterion=criterion, dynamic_ratio=kappa)
    torch.testing.assert_close(model(**batches[0])["logits"], before, rtol=1e-6, atol=1e-6)


def test_a_random_choice_is_another_one_for_every_copy() -> None:
    model = ToyModel()
    split(model, criterion="random")
    first, second, third = pad_weights(model)["layers.0.experts.up_proj"].mask()
    assert not torch.equal(first, second)
    assert not torch.equal(second, third)


def test_the_counts_of_weights_are_those_that_keep_most() -> None:
    scores = [torch.tensor([[5.0, 1, 1], [0, 0, 4]]), torch.tensor([[3.0, 3, 0], [2, 2, 2]])]
    assert sum_by_rank(scores[0]).tolist() == [9, 1, 1]
    masks = select_own_elements(scores, 0.5, "global", [3, 3])
    assert [mask.int().tolist() for mask in masks] == [[[1, 0, 0], [0, 0, 1]], [[1, 1, 0], [1, 1, 0]]]


def test_trained_copies_keep_more_of_what_they_are_than_with_one_mask() -> None:
    lost = {}
    for masks in ("shared", "per_copy"):
        model = ToyModel()
        before = copies_of(model)
        config = PartitionConfig(criterion="magnitude", num_rounds=1, masks=masks)
        partition(model, None, config, progress=False)
        built = {name: weight.build().detach() for name, weight in pad_weights(model).items()}
        lost[masks] = sum(float((built[name] - values).square().sum()) for name, values in before.items())
    assert lost["per_copy"] < lost["shared"]


@pytest.mark.parametrize("fields", [{}, LEFT_OUT])
def test_an_interrupt_gives_the_model_back(fields: dict[str, str]) -> None:
    for equal in (True, False):
        model = ToyModel(equal_copies=equal)
        before = copies_of(model)

        def stop(record: object) -> None:
            raise KeyboardInterrupt

        model.record_partition = stop
        with pytest.raises(KeyboardInterrupt):
            split(model, criterion="random", **fields)
        after = copies_of(model)
        assert all(torch.equal(values, after[name]) for name, values in before.items())


def test_leaving_units_out_of_equal_copies_is_said_to_lose_them(caplog: pytest.LogCaptureFixture) -> None:
    for equal, message in ((True, "upcycled experts lose what their dense model learned"), (False, "train on")):
        with caplog.at_level(logging.WARNING):
            caplog.clear()
            split(ToyModel(equal_copies=equal), criterion="random", **LEFT_OUT)
        assert len(caplog.messages) == 1
        assert message in caplog.messages[0]


REFUSED = [
    (
        {"granularity": "unit"},
        "cannot go with granularity 'unit' and static values: a unit that is static for one copy",
    ),
    ({"granularity": "unit", "static_values": "mean"}, "static_values='none'"),
    ({"static_values": "none"}, "granularity is 'element' and masks are 'per_copy': add granularity='unit'"),
    ({**LEFT_OUT, "masks": "shared"}, "granularity is 'unit' and masks are 'shared'.*masks='per_copy'"),
    ({**LEFT_OUT, "dynamic_ratio": 0}, "dynamic_ratio 0 cannot go with static_values 'none'.*above 0"),
    ({**LEFT_OUT, "static_branch": "keep"}, "static_branch 'keep' cannot go with static_values 'none'.*'drop'"),
    ({"masks": "own"}, "masks is 'own', but must be one of 'shared', 'per_copy'"),
]


@pytest.mark.parametrize(("fields", "message"), REFUSED)
def test_what_does_not_go_together_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(PADNetError, match=message):
        PartitionConfig(**{"masks": "per_copy", **fields})


def test_a_criterion_that_compares_copies_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(criteria, "_CRITERIA", dict(criteria._CRITERIA))
    criteria.register_criterion("spread", needs_gradients=False, compares_copies=True)(
        lambda weight: weight.copies.float().var(dim=0)
    )
    partition(ToyModel(), None, PartitionConfig(criterion="spread"), progress=False)
    with pytest.raises(PADNetError, match=r"'spread' compares copies.*masks 'shared'"):
        PartitionConfig(criterion="spread", masks="per_copy")


@pytest.mark.parametrize("fields", [{}, LEFT_OUT])
def test_copies_with_other_values_each_are_not_compared(fields: dict[str, str]) -> None:
    model = ToyModel()
    split(model, criterion="random", **fields)
    with pytest.raises(PADNetError, match="how far apart copies are cannot be said"):
        relatedness(model)
