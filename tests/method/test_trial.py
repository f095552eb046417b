import pytest
import torch
from torch import Tensor

from padnet_hf.method.layer import mask_groups
from padnet_hf.method.layout import Granularity
from padnet_hf.method.trial import MaskTrial, trials
from padnet_hf.method.weight import PADWeight
from tests.method.toy import ToyModel

VALUES = [[1.0, 2.0, 3.0], [5.0, 6.0, 7.0]]


def _weight(values: list[list[float]]) -> PADWeight:
    weight = PADWeight(2, (3,))
    weight.become({"dynamic": torch.tensor(values)})
    return weight


@pytest.mark.parametrize(
    ("branch", "expected"),
    [("drop", [[1.0, 0.0, 3.0], [5.0, 0.0, 7.0]]), ("keep", [[1.0, 4.0, 3.0], [5.0, 4.0, 7.0]])],
)
def test_static_elements_drop_to_zero_or_keep_their_mean(branch: str, expected: list[list[float]]) -> None:
    weight = _weight(VALUES)
    MaskTrial(weight, "element").apply(torch.tensor([True, False, True]), branch)
    assert weight.dynamic.tolist() == expected


@pytest.mark.parametrize("branch", ["drop", "keep"])
@pytest.mark.parametrize("values", [VALUES, [VALUES[0]] * 2], ids=["different", "equal"])
def test_every_mask_is_tried_on_the_weight_as_it_was(values: list[list[float]], branch: str) -> None:
    masks = torch.tensor([[True, False, True], [False, False, True]])
    weight, other = _weight(values), _weight(values)
    trial = MaskTrial(weight, "element")
    for mask in masks:
        trial.apply(mask, branch)
    MaskTrial(other, "element").apply(masks[1], branch)
    assert torch.equal(weight.dynamic, other.dynamic)
    trial.undo()
    assert weight.dynamic.tolist() == values


def _masks(size: int) -> list[Tensor]:
    """Each inside the one before."""
    drawn = torch.rand(size, generator=torch.Generator().manual_seed(0))
    return [drawn < share for share in (0.7, 0.4, 0.2)]


@pytest.mark.parametrize("granularity", ["element", "unit"])
@pytest.mark.parametrize("equal_copies", [True, False])
def test_after_trials_values_come_back_bit_for_bit(equal_copies: bool, granularity: Granularity) -> None:
    model = ToyModel(equal_copies=equal_copies)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    weights = [weight for group in mask_groups(model, granularity) for weight in group.weights]
    with trials(weights, granularity) as by_weight:
        for weight, trial in by_weight.items():
            for mask in _masks(weight.num_candidates(granularity)):
                trial.apply(mask, "drop")
        changed = [not torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items()]
        assert sum(changed) == len(by_weight)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name])


@pytest.mark.parametrize("branch", ["drop", "keep"])
@pytest.mark.parametrize("equal_copies", [True, False])
def test_a_unit_is_shown_as_its_elements_are(equal_copies: bool, branch: str) -> None:
    by_unit, by_element = (ToyModel(equal_copies=equal_copies) for _ in range(2))
    pairs = zip(*(mask_groups(model, "unit") for model in (by_unit, by_element)), strict=True)
    for one, other in pairs:
        for weight, same in zip(one.weights, other.weights, strict=True):
            unit_trial, trial = MaskTrial(weight, "unit"), MaskTrial(same, "element")
            for mask in _masks(weight.num_candidates("unit")):
                unit_trial.apply(mask, branch)
                trial.apply(weight.layout.over_elements(mask), branch)
                assert torch.equal(weight.dynamic, same.dynamic)
