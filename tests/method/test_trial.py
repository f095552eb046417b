import pytest
import torch
from torch import Tensor

from padnet_hf.method.layer import pad_weights
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
    MaskTrial(weight).apply(torch.tensor([True, False, True]), branch)
    assert weight.dynamic.tolist() == expected


@pytest.mark.parametrize("branch", ["drop", "keep"])
@pytest.mark.parametrize("values", [VALUES, [VALUES[0]] * 2], ids=["different", "equal"])
def test_every_mask_is_tried_on_the_weight_as_it_was(values: list[list[float]], branch: str) -> None:
    masks = torch.tensor([[True, False, True], [False, False, True]])
    weight, other = _weight(values), _weight(values)
    trial = MaskTrial(weight)
    for mask in masks:
        trial.apply(mask, branch)
    MaskTrial(other).apply(masks[1], branch)
    assert torch.equal(weight.dynamic, other.dynamic)
    trial.undo()
    assert weight.dynamic.tolist() == values


def _mask(weight: PADWeight) -> Tensor:
    return torch.rand(weight.shape, generator=torch.Generator().manual_seed(0)) < 0.5


@pytest.mark.parametrize("equal_copies", [True, False])
def test_after_trials_values_come_back_bit_for_bit(equal_copies: bool) -> None:
    model = ToyModel(equal_copies=equal_copies)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with trials(pad_weights(model).values()) as by_weight:
        for weight, trial in by_weight.items():
            trial.apply(_mask(weight), "drop")
        changed = [not torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items()]
        assert sum(changed) == len(by_weight)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name])
