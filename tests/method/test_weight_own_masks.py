"""PADWeight whose copies have masks of their own, against a loop that puts value after value in its place."""

import copy

import pytest
import torch
from torch import Tensor

from padnet_hf.errors import PADNetError
from padnet_hf.method import packing
from padnet_hf.method.conversion import partitioned_state
from padnet_hf.method.layout import Form
from padnet_hf.method.packing import pack_mask
from padnet_hf.method.weight import PADWeight
from tests.method.test_batched import Launches

COPIES, SHAPE, COUNT = 3, (6, 7), 17


def own_masks(copies: int = COPIES, seed: int = 1) -> Tensor:
    """COUNT ones in each, at other places."""
    drawn = torch.rand(copies, 42, generator=torch.Generator().manual_seed(seed))
    return drawn.argsort().argsort() < COUNT


def make_weight(dtype: torch.dtype = torch.float64, copies: int = COPIES, phi: float = 0.7) -> PADWeight:
    weight = PADWeight(copies, SHAPE, unit_dim=0)
    generator = torch.Generator().manual_seed(0)
    weight.become({"dynamic": torch.randn(copies, *SHAPE, dtype=torch.float64, generator=generator).to(dtype)})
    weight.become(partitioned_state(weight, own_masks(copies), "element"), "element")
    torch.nn.init.constant_(weight.phi, phi)
    return weight


def by_loop(weight: PADWeight) -> Tensor:
    """lambda_d * M_e * dynamic_e + lambda_s * (1 - M_e) * static, value by value."""
    scale, copies = 2 * torch.sigmoid(weight.phi[0]), []
    for values, mask in zip(weight.dynamic, own_masks(), strict=True):
        own = iter(values)
        pairs = zip(mask.tolist(), weight.static, strict=True)
        copies.append(torch.stack([scale * next(own) if m else (2 - scale) * shared for m, shared in pairs]))
    return torch.stack(copies).view(COPIES, *SHAPE)


def gradients(weight: PADWeight, outputs: Tensor) -> list[Tensor]:
    probe = torch.randn(outputs.shape, dtype=outputs.dtype, generator=torch.Generator().manual_seed(2))
    return list(torch.autograd.grad((outputs * probe).sum(), list(weight.parameters())))


def test_it_holds_what_every_copy_held_under_its_mask_and_means_of_all() -> None:
    weight = make_weight(phi=0.0)
    original = torch.randn(COPIES, 42, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert {name: tuple(tensor.shape) for name, tensor in weight.state_dict().items()} == {
        "dynamic": (COPIES, COUNT),
        "static": (42,),
        "phi": (1,),
        "mask_bits": (COPIES, 6),
    }
    assert torch.equal(weight.dynamic, torch.stack([c[m] for c, m in zip(original, own_masks(), strict=True)]))
    assert torch.equal(weight.static, original.mean(dim=0))
    assert torch.equal(weight.mask(), own_masks())
    assert weight.num_dynamic == weight.num_dynamic_elements == COUNT
    assert weight.has_own_masks
    assert not any((weight.leaves_out, weight.is_static, weight.is_fully_dynamic))
    expected = torch.where(own_masks(), original, original.mean(dim=0))
    assert torch.equal(weight.build(), expected.view(COPIES, *SHAPE))


@pytest.mark.parametrize("at_once", [False, True])
def test_building_is_the_formula_in_values_and_gradients(at_once: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "is_batched", lambda device: at_once)
    weight = make_weight()
    built, expected = weight.build(), by_loop(weight)
    torch.testing.assert_close(built, expected, rtol=0, atol=0)
    for one, other in zip(gradients(weight, built), gradients(weight, expected), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def test_in_graphs_it_is_built_to_the_same_values_and_gradients() -> None:
    weight = make_weight()
    graph = torch.export.export(_Builds(weight), (), strict=False).module()
    torch.testing.assert_close(graph(), weight.build(), rtol=0, atol=0)
    merged = weight._merged_in_graph(weight.dynamic)
    for one, other in zip(gradients(weight, merged), gradients(weight, by_loop(weight)), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


class _Builds(torch.nn.Module):
    def __init__(self, weight: PADWeight) -> None:
        super().__init__()
        self.weight = weight

    def forward(self) -> Tensor:
        return self.weight.build()


def test_products_with_inputs_are_those_with_built_copies() -> None:
    weight = make_weight()
    inputs = list(torch.randn(9, 7, dtype=torch.float64).split((4, 0, 5)))
    bias = torch.randn(COPIES, 6, dtype=torch.float64)
    expected = [
        values @ matrix.t() + shift for values, matrix, shift in zip(inputs, by_loop(weight), bias, strict=True)
    ]
    found = list(weight.linear(inputs, bias))
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)
    pairs = zip(gradients(weight, torch.cat(found)), gradients(weight, torch.cat(expected)), strict=True)
    for one, other in pairs:
        torch.testing.assert_close(one, other)
    for keep in (False, True):
        weight.eval().keep_built(keep)
        with torch.no_grad():
            chosen = list(weight.linear([inputs[2], inputs[0]], bias, [2, 0]))
        torch.testing.assert_close(chosen, [expected[2].detach(), expected[0].detach()])


def test_mixing_weighs_every_copys_values_static_ones_too() -> None:
    weight, shares = make_weight(), torch.randn(4, COPIES, dtype=torch.float64)
    mixed = weight.mix(shares)
    expected = torch.stack([sum(s * c for s, c in zip(row, by_loop(weight), strict=True)) for row in shares])
    torch.testing.assert_close(mixed, expected)
    for one, other in zip(gradients(weight, mixed), gradients(weight, expected), strict=True):
        torch.testing.assert_close(one, other)


def test_units_are_scaled_in_every_copy() -> None:
    weight, factors = make_weight(), torch.linspace(-1, 3, 6, dtype=torch.float64)
    expected = weight.build().detach() * factors.view(-1, 1)
    weight.scale_units(factors)
    torch.testing.assert_close(weight.build().detach(), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_another_weight_takes_its_form_and_values(dtype: torch.dtype) -> None:
    weight = make_weight(dtype)
    for fresh in (PADWeight(COPIES, SHAPE, unit_dim=0), make_weight(dtype, phi=0.1)):
        fresh.to(dtype).load_state_dict(weight.state_dict())
        assert torch.equal(fresh.build(), weight.build())
        assert torch.equal(copy.deepcopy(fresh).build(), weight.build())


def test_room_is_made_with_masks_that_can_be_used() -> None:
    weight = PADWeight(COPIES, SHAPE, unit_dim=0)
    weight.make_room(COUNT, "element", "per_copy")
    assert weight.mask().tolist() == [[i < COUNT for i in range(42)]] * COPIES
    with torch.device("meta"):
        empty = PADWeight(COPIES, SHAPE, unit_dim=0)
    empty.make_room(COUNT, "element", "per_copy")
    shapes = weight.layout.shapes(Form(COUNT, "element", "per_copy"))
    for one in (weight, empty):
        assert {name: tuple(tensor.shape) for name, tensor in one.state().items()} == shapes
    assert all(tensor.is_meta for tensor in empty.state().values())


def test_a_mask_that_was_written_to_is_refused() -> None:
    weight, masks = make_weight(), own_masks()
    weight.build()
    masks[1, masks[1].nonzero()[0]] = False
    weight.mask_bits.copy_(pack_mask(masks))
    with pytest.raises(
        PADNetError,
        match=r"weight of \(6, 7\) has 16 set bits, but 17 of them are dynamic",
    ):
        weight.build()


def test_launches_do_not_grow_with_the_number_of_copies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "is_batched", lambda device: True)
    counted = []
    for copies in (2, 16):
        weight = make_weight(copies=copies)
        weight.build()  # positions are worked out
        with Launches() as launches:
            built = weight.build()
            built.backward(torch.ones_like(built))
        counted.append(launches.names)
    assert counted[0] == counted[1]
