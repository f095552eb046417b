import pytest
import torch
from torch import Tensor, nn

from padnet_hf.layers.dynamic_conv import PADDynamicConv2d
from padnet_hf.method.layer import pad_layers
from padnet_hf.method.work import count_work
from tests.method.toy import ToyModel, toy_batches, toy_layer


class Shared(nn.Module):
    """One layer that is run three times, and one that is never run."""

    def __init__(self) -> None:
        super().__init__()
        self.used, self.idle = toy_layer(), toy_layer()

    def forward(self, hidden: Tensor) -> Tensor:
        for _ in range(3):
            hidden = self.used(hidden)
        return hidden


def test_a_layer_that_is_run_several_times_counts_so_often_and_one_that_is_not_is_missing() -> None:
    model, hidden = Shared(), torch.randn(2, 5, 4)
    once = model.used.multiply_adds(hidden)
    assert count_work(model, {"hidden": hidden}) == {"used": tuple(3 * count for count in once)}


def test_a_convolution_is_counted_where_it_stands() -> None:
    model = nn.Sequential(PADDynamicConv2d(3, 4, 3, padding=1), nn.MaxPool2d(2), PADDynamicConv2d(4, 5, 3, stride=2))
    found = count_work(model, {"input": torch.randn(2, 3, 16, 12)})
    assert [work.dense for work in found.values()] == [16 * 12 * 4 * 3 * 9, 3 * 2 * 5 * 4 * 9]


def test_nothing_of_the_model_changes_and_nothing_is_drawn() -> None:
    model = ToyModel().train()
    before, random = {name: t.clone() for name, t in model.state_dict().items()}, torch.get_rng_state()
    modes = [module.training for module in model.modules()]
    model.on_forward = lambda call: torch.rand(1)
    assert set(count_work(model, toy_batches(1)[0])) == set(pad_layers(model))
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)
    assert [module.training for module in model.modules()] == modes
    assert model.seen.training == []


@pytest.mark.parametrize("error", [ValueError, RuntimeError, KeyError])
def test_a_forward_that_cannot_run_without_values_leaves_it_unknown(error: type[Exception]) -> None:
    model = ToyModel()

    def refuse(call: int) -> None:
        raise error("values, please")

    model.on_forward = refuse
    assert count_work(model, toy_batches(1)[0]) == {}
