import copy

import pytest
import torch
from torch import Tensor

from padnet_hf.errors import PADNetError
from padnet_hf.method.conversion import partitioned_state
from padnet_hf.method.layout import Form, Granularity
from padnet_hf.method.packing import pack_mask
from padnet_hf.method.weight import PADWeight

COPIES, SHAPE = 3, (6, 4, 2)


def _weight(
    *,
    unit_dim: int | None = 0,
    ordered: bool = True,
    dtype: torch.dtype = torch.float64,
    equal: bool = False,
    shape: tuple[int, ...] = SHAPE,
) -> PADWeight:
    """Fully dynamic, with random copies, or equal ones."""
    weight = PADWeight(COPIES, shape, unit_dim=unit_dim, ordered=ordered)
    values = torch.randn(COPIES, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    weight.become({"dynamic": (values[:1].repeat(COPIES, *[1] * len(shape)) if equal else values).to(dtype)})
    return weight


def _partition(weight: PADWeight, mask: Tensor, granularity: Granularity, phi: float = 0.0) -> PADWeight:
    weight.become(partitioned_state(weight, mask, granularity), granularity)
    if weight.phi is not None:
        torch.nn.init.constant_(weight.phi, phi)
    return weight


def _mask(length: int, seed: int = 1) -> Tensor:
    mask = torch.rand(length, generator=torch.Generator().manual_seed(seed)) < 0.5
    assert 0 < mask.sum() < length
    return mask


def _expanded(mask: Tensor, unit_dim: int) -> Tensor:
    """Mask over units -> flat mask over elements of SHAPE."""
    view = [1] * len(SHAPE)
    view[unit_dim] = -1
    return mask.view(view).expand(SHAPE).flatten()


def _dense_by_loop(weight: PADWeight, mask: Tensor) -> Tensor:
    """lambda_d * M * Theta_dynamic + lambda_s * (1 - M) * Theta_static, value by value; mask (N,) over elements.

    Relies on one fact alone: packed values are in row-major order of the positions they belong to.
    """
    scale = 2 / (1 + torch.exp(-weight.phi))
    copies = []
    for packed in weight.dynamic:
        dynamic, static = iter(packed.flatten()), iter(weight.static.flatten())
        copies.append(torch.stack([scale * next(dynamic) if m else (2 - scale) * next(static) for m in mask.tolist()]))
    return torch.stack(copies).view(len(copies), *SHAPE)


def _values_and_gradients(weight: PADWeight, dense: Tensor) -> dict[str, Tensor]:
    """`dense` and the gradients of a scalar of it in every parameter."""
    probe = torch.randn(dense.shape, dtype=dense.dtype, generator=torch.Generator().manual_seed(2))
    names, parameters = zip(*weight.named_parameters(), strict=True)
    return {"dense": dense, **dict(zip(names, torch.autograd.grad((dense * probe).sum(), parameters), strict=True))}


_FORMS: list[tuple[str, Granularity, int, dict[str, tuple[tuple[int, ...], torch.dtype]]]] = [
    ("all elements", "element", 48, {"dynamic": ((3, 6, 4, 2), torch.float64)}),
    ("no element", "element", 0, {"static": ((6, 4, 2), torch.float64)}),
    (
        "some elements",
        "element",
        17,
        {
            "dynamic": ((3, 17), torch.float64),
            "static": ((31,), torch.float64),
            "phi": ((1,), torch.float64),
            "mask_bits": ((6,), torch.uint8),
        },
    ),
    ("all units", "unit", 4, {"dynamic": ((3, 6, 4, 2), torch.float64)}),
    ("no unit", "unit", 0, {"static": ((6, 4, 2), torch.float64)}),
    (
        "some ordered units",
        "unit",
        3,
        {
            "dynamic": ((3, 6, 3, 2), torch.float64),
            "static": ((6, 1, 2), torch.float64),
            "phi": ((1,), torch.float64),
            "mask_bits": ((1,), torch.uint8),
        },
    ),
    (
        "some unordered units",
        "unit",
        3,
        {"dynamic": ((3, 6, 3, 2), torch.float64), "static": ((6, 1, 2), torch.float64), "phi": ((1,), torch.float64)},
    ),
]


@pytest.mark.parametrize(("name", "granularity", "count", "expected"), _FORMS, ids=[form[0] for form in _FORMS])
def test_every_form_has_the_tensors_it_says(
    name: str, granularity: Granularity, count: int, expected: dict[str, tuple[tuple[int, ...], torch.dtype]]
) -> None:
    weight = _weight(unit_dim=1, ordered="unordered" not in name)
    assert weight.layout.shapes(Form(count, granularity)) == {key: shape for key, (shape, _) in expected.items()}
    mask = torch.arange(weight.num_candidates(granularity)) < count
    room = copy.deepcopy(weight)
    room.make_room(count, granularity)
    for form in (_partition(weight, mask, granularity), room):
        state = {key: (tuple(tensor.shape), tensor.dtype) for key, tensor in form.state_dict().items()}
        assert state == expected
        assert {key for key, _ in form.named_parameters()} == set(expected) - {"mask_bits"}
        assert form.num_dynamic == count
        assert form.num_dynamic_elements == count * (1 if granularity == "element" else 12)
        assert form.is_fully_dynamic == ("all" in name)
        assert form.is_static == ("no " in name)
        assert torch.equal(form.mask(), mask)
        assert f"{count} of {len(mask)} {granularity}s dynamic" in repr(form)


def test_a_weight_without_units_is_one_unit() -> None:
    weight = _weight(unit_dim=None)
    assert weight.num_candidates("unit") == 1
    assert _partition(weight, torch.tensor([True]), "unit").is_fully_dynamic
    assert _partition(weight, torch.tensor([False]), "unit").is_static


def test_fully_dynamic_builds_its_parameter_itself() -> None:
    weight = _weight()
    assert weight.build() is weight.dynamic


def test_static_form_is_the_mean_for_every_copy() -> None:
    weight = _weight()
    mean = weight.dynamic.detach().mean(dim=0)
    dense = _partition(weight, torch.zeros(48, dtype=torch.bool), "element").build()
    assert dense.shape == (COPIES, *SHAPE)
    assert all(torch.equal(one, mean) for one in dense)
    dense.sum().backward()
    assert torch.equal(weight.static.grad, torch.full_like(mean, COPIES))


def test_element_partition_keeps_values_under_the_mask_and_means_elsewhere() -> None:
    weight, mask = _weight(), _mask(48)
    copies = weight.dynamic.detach().flatten(1)
    _partition(weight, mask, "element")
    assert torch.equal(weight.dynamic, copies[:, mask])
    assert torch.equal(weight.static, copies[:, ~mask].mean(dim=0))
    assert weight.phi.item() == 0
    assert torch.equal(weight.mask_bits, pack_mask(mask))


@pytest.mark.parametrize("phi", [0.0, 0.7])
def test_element_build_equals_a_loop_in_values_and_gradients(phi: float) -> None:
    mask = _mask(48)
    weight = _partition(_weight(), mask, "element", phi)
    built = _values_and_gradients(weight, weight.build())
    looped = _values_and_gradients(weight, _dense_by_loop(weight, mask))
    assert set(built) == {"dense", "dynamic", "static", "phi"}
    for name, tensor in looped.items():
        torch.testing.assert_close(built[name], tensor, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("unit_dim", [0, 1, 2])
@pytest.mark.parametrize("ordered", [True, False])
def test_unit_build_equals_a_loop_in_values_and_gradients(unit_dim: int, ordered: bool) -> None:
    mask = _mask(SHAPE[unit_dim], seed=unit_dim)
    weight = _partition(_weight(unit_dim=unit_dim, ordered=ordered), mask, "unit", phi=-0.4)
    stored_order = mask if ordered else torch.arange(len(mask)) < mask.sum()
    assert torch.equal(weight.mask(), stored_order)
    built = _values_and_gradients(weight, weight.build())
    looped = _values_and_gradients(weight, _dense_by_loop(weight, _expanded(stored_order, unit_dim)))
    for name, tensor in looped.items():
        torch.testing.assert_close(built[name], tensor, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("unit_dim", [0, 1, 2])
@pytest.mark.parametrize("ordered", [True, False])
def test_unit_partition_equals_element_partition_with_the_expanded_mask(unit_dim: int, ordered: bool) -> None:
    mask = _mask(SHAPE[unit_dim], seed=unit_dim)
    unit = _partition(_weight(unit_dim=unit_dim, ordered=ordered), mask, "unit", phi=0.9)
    element = _partition(_weight(), _expanded(mask, unit_dim), "element", phi=0.9)
    assert torch.equal(unit.dynamic.flatten(1), element.dynamic)
    assert torch.equal(unit.static.flatten(), element.static)
    order = torch.arange(len(mask)) if ordered else torch.cat([mask.nonzero(), (~mask).nonzero()]).squeeze(1)
    # undo the reordering of unordered units, so that position j means the same in both
    by_unit = _values_and_gradients(unit, unit.build().index_select(1 + unit_dim, order.argsort()))
    by_element = _values_and_gradients(element, element.build())
    for name, tensor in by_element.items():
        torch.testing.assert_close(by_unit[name].flatten(), tensor.flatten(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("granularity", "mask"),
    [("element", _mask(48)), ("unit", _mask(6)), ("element", torch.zeros(48, dtype=torch.bool))],
    ids=["element", "unit", "static"],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_partition_of_equal_copies_changes_no_bit_of_what_is_built(
    granularity: Granularity, mask: Tensor, dtype: torch.dtype
) -> None:
    weight = _weight(dtype=dtype, equal=True)
    before = weight.build().detach().clone()
    after = _partition(weight, mask, granularity).build()
    assert after.dtype == dtype
    assert torch.equal(after, before)


@pytest.mark.parametrize(("granularity", "ordered"), [("element", True), ("unit", True), ("unit", False)])
@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_linear_is_a_product_with_every_copy_in_values_and_gradients(
    granularity: Granularity, ordered: bool, share: float
) -> None:
    weight = _weight(shape=(6, 8), ordered=ordered)
    generator = torch.Generator().manual_seed(5)
    mask = torch.rand(weight.num_candidates(granularity), generator=generator) < share
    _partition(weight, mask, granularity, phi=0.4)
    inputs = [torch.randn(count, 8, dtype=torch.float64, generator=generator) for count in (3, 0, 2)]
    bias = torch.randn(COPIES, 6, dtype=torch.float64, generator=generator)
    expected = [x @ copy.t() + b for x, copy, b in zip(inputs, weight.build(), bias, strict=True)]
    gradients = torch.autograd.grad(sum(y.square().sum() for y in expected), list(weight.parameters()))
    actual = list(weight.linear(inputs, bias))
    for one, other in zip(actual, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)
    for one, other in zip(
        torch.autograd.grad(sum(y.square().sum() for y in actual), list(weight.parameters())), gradients, strict=True
    ):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)
    with torch.no_grad():
        for keep in (False, True):
            weight.keep_built(keep)
            for one, other in zip(weight.linear(inputs, bias), expected, strict=True):
                torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("granularity", "count", "allowed"),
    [
        ("element", -1, "from 0 to 48"),
        ("element", 49, "from 0 to 48"),
        ("unit", 7, "from 0 to 6"),
        ("unit", -1, "from 0 to 6"),
        ("element", 2.0, "from 0 to 48"),
        ("element", True, "from 0 to 48"),
        ("element", "12", "from 0 to 48"),
        ("element", None, "from 0 to 48"),
    ],
)
def test_an_impossible_count_is_refused_and_changes_nothing(
    granularity: Granularity, count: object, allowed: str
) -> None:
    weight = _weight()
    before = weight.dynamic
    with pytest.raises(PADNetError, match=rf"dynamic count {count!r} .*{allowed}"):
        weight.make_room(count, granularity)
    assert weight.dynamic is before


@pytest.mark.parametrize("trainable", [True, False])
@pytest.mark.parametrize(("granularity", "mask"), [("element", _mask(48)), ("unit", _mask(6))])
def test_new_tensors_train_exactly_if_the_old_did(granularity: Granularity, mask: Tensor, trainable: bool) -> None:
    weight = _weight().requires_grad_(trainable)
    _partition(weight, mask, granularity)
    assert [parameter.requires_grad for parameter in weight.parameters()] == [trainable] * 3
    weight.make_room(5, granularity)
    assert [parameter.requires_grad for parameter in weight.parameters()] == [trainable] * 3


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("granularity", "mask", "ordered"),
    [
        ("element", _mask(48), True),
        ("unit", _mask(6), True),
        ("unit", _mask(6), False),
        ("unit", torch.zeros(6, dtype=torch.bool), True),
        ("unit", torch.ones(6, dtype=torch.bool), True),
    ],
)
def test_state_dict_round_trip_is_exact(
    granularity: Granularity, mask: Tensor, ordered: bool, dtype: torch.dtype
) -> None:
    weight = _partition(_weight(ordered=ordered, dtype=dtype), mask, granularity, phi=0.3)
    fresh = PADWeight(COPIES, SHAPE, unit_dim=0, ordered=ordered).to(dtype)
    fresh.make_room(weight.num_dynamic, granularity)
    fresh.build()  # works out positions from the placeholder mask, which loading must forget
    fresh.load_state_dict(weight.state_dict())
    assert fresh.build().dtype == dtype
    assert torch.equal(fresh.build(), weight.build())


def test_a_mask_keeps_its_bits_under_casts() -> None:
    mask = _mask(48)
    weight = _partition(_weight(), mask, "element").to(torch.bfloat16)
    assert weight.mask_bits.dtype == torch.uint8
    assert torch.equal(weight.mask(), mask)
    assert {parameter.dtype for parameter in weight.parameters()} == {torch.bfloat16}
    assert weight.build().dtype == torch.bfloat16


def test_bfloat16_partition_is_the_rounded_formula() -> None:
    mask = _mask(48)
    weight = _partition(_weight(dtype=torch.bfloat16), mask, "element", phi=0.5)
    exact = _dense_by_loop(copy.deepcopy(weight).double(), mask)
    torch.testing.assert_close(weight.build().double(), exact, rtol=2**-6, atol=0)
    weight.build().sum().backward()
    assert all(p.grad is not None and p.grad.dtype == torch.bfloat16 for p in weight.parameters())


def test_make_room_gives_a_usable_mask_and_neutral_scales() -> None:
    weight = _weight()
    weight.make_room(17, "element")
    assert weight.mask().tolist() == [i < 17 for i in range(48)]
    assert [scale.item() for scale in weight.scales()] == [1, 1]


def test_make_room_works_on_the_meta_device() -> None:
    with torch.device("meta"):
        weight = PADWeight(COPIES, SHAPE, unit_dim=0)
    weight.make_room(17, "element")
    assert weight.num_dynamic == 17
    assert all(tensor.is_meta for tensor in weight.state().values())


def test_scales_sum_to_two_and_are_positive() -> None:
    weight = _partition(_weight(), _mask(48), "element")
    for phi in (-9.0, -1.0, 0.0, 2.0, 9.0):
        torch.nn.init.constant_(weight.phi, phi)
        dynamic, static = weight.scales()
        assert dynamic > 0
        assert static > 0
        assert (dynamic + static).item() == pytest.approx(2)
        assert dynamic.item() == pytest.approx(2 * torch.tensor(phi).sigmoid().item(), rel=1e-6)
