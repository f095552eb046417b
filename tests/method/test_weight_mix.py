"""PADWeight for dynamic convolutions: a weight per sample, positions of whole channels, factors for whole channels."""

import pytest
import torch
from torch import Tensor, nn

from padnet_hf.method.conversion import partitioned_state
from padnet_hf.method.packing import merge
from padnet_hf.method.weight import PADWeight

COPIES, SHAPE = 3, (5, 2, 3)
FORMS = ("fully dynamic", "element", "unit", "static by element", "static by unit")


def _weight(form: str, dtype: torch.dtype = torch.float64, unit_dim: int = 0) -> PADWeight:
    generator = torch.Generator().manual_seed(0)
    weight = PADWeight(COPIES, SHAPE, unit_dim=unit_dim).to(dtype)
    weight.become({"dynamic": torch.randn(COPIES, *SHAPE, generator=generator).to(dtype)})
    granularity = "unit" if "unit" in form else "element"
    mask = torch.zeros(weight.num_candidates(granularity), dtype=torch.bool)
    mask[1::2] = form in ("element", "unit")
    mask |= form == "fully dynamic"
    weight.become(partitioned_state(weight, mask, granularity), granularity)
    if weight.phi is not None:
        nn.init.constant_(weight.phi, 0.7)
    return weight


def _shares(dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(4, COPIES, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(dtype)


def _mixed_by_loop(weight: PADWeight, shares: Tensor) -> Tensor:
    """Shares times what `build` gives, where dynamic; the static value whatever the shares sum to."""
    copies, mask = weight.build(), weight.mask()
    if weight.granularity == "unit":
        mask = mask.view([-1 if dim == weight.layout.unit_dim else 1 for dim in range(3)])
        mask = mask.expand(SHAPE)
    mask = mask.reshape(SHAPE)
    rows = [sum(share * values for share, values in zip(row, copies, strict=True)) for row in shares]
    return torch.stack([torch.where(mask, row, copies[0]) for row in rows])


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("unit_dim", [0, 1])
def test_mix_is_the_formula_in_values_and_gradients(form: str, unit_dim: int) -> None:
    weight, shares = _weight(form, unit_dim=unit_dim), _shares().requires_grad_()
    probe = torch.randn(4, *SHAPE, dtype=torch.float64)
    leaves = [*weight.parameters(), shares]
    actual, expected = weight.mix(shares), _mixed_by_loop(weight, shares)
    torch.testing.assert_close(actual, expected)
    gradients, others = (
        torch.autograd.grad(mixed, leaves, probe, materialize_grads=True, allow_unused=True)
        for mixed in (actual, expected)
    )
    for gradient, other in zip(gradients, others, strict=True):
        torch.testing.assert_close(gradient, other)


@pytest.mark.parametrize("form", FORMS)
def test_mixing_with_one_copy_alone_builds_that_copy(form: str) -> None:
    weight = _weight(form)
    torch.testing.assert_close(weight.mix(torch.eye(COPIES, dtype=torch.float64)), weight.build())


@pytest.mark.parametrize("form", FORMS)
def test_float32_shares_mix_a_bfloat16_weight(form: str) -> None:
    weight, exact = _weight(form, torch.bfloat16), _weight(form)
    mixed = weight.mix(_shares(torch.float32))
    assert mixed.dtype == torch.bfloat16
    torch.testing.assert_close(mixed.double(), exact.mix(_shares()), rtol=0.03, atol=0.03)


@pytest.mark.parametrize("form", ["element", "unit"])
@pytest.mark.parametrize("unit_dim", [0, 1])
def test_packed_values_merge_into_the_built_weight(form: str, unit_dim: int) -> None:
    weight = _weight(form, unit_dim=unit_dim)
    packed = weight.packed()
    assert packed.dynamic.shape == (COPIES, weight.num_dynamic_elements)
    positions = torch.cat([packed.dynamic_index, packed.static_index])
    assert positions.sort().values.tolist() == list(range(30))
    assert all(index.diff().gt(0).all() for index in packed[4:])
    assert torch.equal(merge(*packed).view(COPIES, *SHAPE), weight.build())


def test_packed_positions_of_units_by_hand() -> None:
    packed = _weight("unit").packed()  # channels 1 and 3 of 5 are dynamic, 6 elements each
    assert packed.dynamic_index.tolist() == [*range(6, 12), *range(18, 24)]
    assert packed.static_index.tolist() == [*range(6), *range(12, 18), *range(24, 30)]


def test_a_fully_dynamic_weight_packs_without_a_static_part() -> None:
    weight = _weight("fully dynamic")
    packed = weight.packed()
    assert torch.equal(packed.dynamic, weight.dynamic.flatten(1))
    assert packed[1:] == (None,) * 5


@pytest.mark.parametrize(("form", "dynamic"), [("element", list(range(1, 30, 2))), ("unit", [1, 3])])
def test_positions_are_those_of_the_mask(form: str, dynamic: list[int]) -> None:
    weight = _weight(form)
    found = [index.tolist() for index in weight.positions()]
    assert found == [dynamic, [i for i in range(weight.num_candidates(form)) if i not in dynamic]]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("unit_dim", [0, 1])
def test_scale_units_multiplies_every_unit_of_every_copy_by_its_factor(form: str, unit_dim: int) -> None:
    weight = _weight(form, unit_dim=unit_dim)
    factors = torch.linspace(-1, 3, SHAPE[unit_dim], dtype=torch.float64)
    view = [1, 1, 1]
    view[unit_dim] = -1
    expected = weight.build().detach() * factors.view(view)
    before = {name: tensor.clone() for name, tensor in weight.state().items() if name in ("phi", "mask_bits")}
    parameters = dict(weight.named_parameters())
    weight.scale_units(factors)
    torch.testing.assert_close(weight.build().detach(), expected)
    assert all(torch.equal(weight.state()[name], tensor) for name, tensor in before.items())
    assert all(weight.get_parameter(name) is parameter for name, parameter in parameters.items())


@pytest.mark.parametrize("form", FORMS)
def test_scaling_by_one_changes_nothing(form: str) -> None:
    weight = _weight(form)
    before = weight.build().detach().clone()
    weight.scale_units(torch.ones(5, dtype=torch.float64))
    assert torch.equal(weight.build(), before)
