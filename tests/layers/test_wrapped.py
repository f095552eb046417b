from collections.abc import Callable

import torch
from torch import nn

from padnet_hf.layers.wrapped import call_inside, unwrapped
from padnet_hf.method.weight import PADWeight


class Doubling(nn.Module):
    """Doubles a weight's values while it is called, as PEFT's wrappers add to them."""

    def __init__(self, base_layer: nn.Module) -> None:
        super().__init__()
        self.base_layer = base_layer

    @torch.no_grad()
    def forward(self, compute: Callable[[], object]) -> object:
        values = unwrapped(self).dynamic
        values.mul_(2)
        result = self.base_layer(compute)
        values.div_(2)
        return result


def make_weight() -> PADWeight:
    weight = PADWeight(2, (3,))
    nn.init.ones_(weight.dynamic)
    return weight


def test_a_weight_is_found_at_any_depth() -> None:
    weight = make_weight()
    assert unwrapped(weight) is unwrapped(Doubling(Doubling(weight))) is weight


def test_every_wrapper_acts_while_the_result_is_computed_and_not_after() -> None:
    plain, once, twice = make_weight(), make_weight(), make_weight()
    modules = (Doubling(once), plain, Doubling(Doubling(twice)))

    def sums() -> list[float]:
        return [float(weight.dynamic.detach().sum()) for weight in (plain, once, twice)]

    assert call_inside(modules, sums) == [6, 12, 24]
    assert sums() == [6, 6, 6]
