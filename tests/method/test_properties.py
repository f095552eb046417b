"""Packing, schedules and PADWeight over shapes, types, ratios and values that nobody chose by hand."""

from itertools import pairwise

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from padnet_hf import PartitionConfig
from padnet_hf.method.conversion import partitioned_state
from padnet_hf.method.packing import num_mask_bytes, pack_mask, unpack_mask
from padnet_hf.method.weight import PADWeight

DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)

masks = st.lists(st.booleans(), min_size=1, max_size=300).map(lambda bits: torch.tensor(bits, dtype=torch.bool))


@st.composite
def partitions(draw: st.DrawFn) -> tuple[PADWeight, PADWeight, Tensor]:
    """A fully dynamic weight, its partition, and the mask over elements."""
    shape = tuple(draw(st.lists(st.integers(1, 5), min_size=1, max_size=4)))
    granularity = draw(st.sampled_from(["element", "unit"]))
    unit_dim = draw(st.integers(0, len(shape) - 1))
    copies, dtype = draw(st.integers(1, 5)), draw(st.sampled_from(DTYPES))
    full, part = (PADWeight(copies, shape, unit_dim=unit_dim) for _ in range(2))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    values = torch.randn(copies, *shape, dtype=torch.float64, generator=generator).to(dtype)
    for weight in (full, part):
        weight.become({"dynamic": values.clone()}, granularity)
    total = part.num_candidates(granularity)
    mask = torch.tensor(draw(st.lists(st.booleans(), min_size=total, max_size=total)))
    part.become(partitioned_state(part, mask, granularity), granularity)
    if part.phi is not None:
        torch.nn.init.constant_(part.phi, draw(st.floats(-4, 4)))
    over = mask.view([-1 if dim == unit_dim else 1 for dim in range(len(shape))]) if granularity == "unit" else mask
    return full, part, over.expand(shape) if granularity == "unit" else over.view(shape)


@given(masks)
def test_bits_come_back_as_they_were(mask: Tensor) -> None:
    bits = pack_mask(mask)
    assert bits.dtype == torch.uint8
    assert len(bits) == num_mask_bytes(len(mask)) == -(-len(mask) // 8)
    assert torch.equal(unpack_mask(bits, len(mask)), mask)


@given(partitions())
def test_a_built_weight_is_the_formula(drawn: tuple[PADWeight, PADWeight, Tensor]) -> None:
    full, part, mask = drawn
    values = full.dynamic.detach()
    if mask.any() and not mask.all():
        scale = 2 / (1 + torch.exp(-part.phi.double()))
        static = values.double().mean(dim=0).to(values.dtype)
        expected = torch.where(mask, scale * values.double(), (2 - scale) * static.double())
    else:
        expected = values.double() if mask.all() else values.double().mean(dim=0).expand_as(values)
    tolerance = {torch.float64: 1e-12, torch.float32: 1e-5, torch.float16: 2e-2, torch.bfloat16: 1e-1}[values.dtype]
    torch.testing.assert_close(part.build().double(), expected, rtol=tolerance, atol=tolerance)


@given(partitions())
def test_what_is_stored_is_what_the_formula_counts(drawn: tuple[PADWeight, PADWeight, Tensor]) -> None:
    full, part, mask = drawn
    dynamic, total = int(mask.sum()), mask.numel()
    stored = sum(tensor.numel() for name, tensor in part.state().items() if name in ("dynamic", "static"))
    assert stored == full.num_copies * dynamic + total - dynamic
    assert part.num_dynamic_elements == dynamic
    assert (part.mask_bits is None) == (dynamic in (0, total))


@given(partitions())
def test_a_state_dict_fills_the_room_that_its_count_makes(drawn: tuple[PADWeight, PADWeight, Tensor]) -> None:
    full, part, _ = drawn
    full.make_room(part.num_dynamic, part.granularity)
    full.load_state_dict(part.state_dict())
    assert torch.equal(full.build(), part.build())
    assert torch.equal(full.mask(), part.mask())


@given(partitions())
def test_gradients_reach_every_stored_value_once_per_use(drawn: tuple[PADWeight, PADWeight, Tensor]) -> None:
    """The sum of all built values: a dynamic one appears once, a static one in each copy, each times its scale."""
    full, part, _ = drawn
    part.build().double().sum().backward()
    dynamic_scale, static_scale = (scale.item() for scale in part.scales())
    tolerance = {"rtol": 2e-2, "atol": 2e-2}
    if part.dynamic is not None:
        expected = torch.full_like(part.dynamic, dynamic_scale)
        torch.testing.assert_close(part.dynamic.grad, expected, **tolerance)
    if part.static is not None:
        expected = torch.full_like(part.static, static_scale * full.num_copies)
        torch.testing.assert_close(part.static.grad, expected, **tolerance)


@given(
    st.floats(0, 1),
    st.integers(1, 30),
    st.sampled_from(["exponential", "linear"]),
    st.sampled_from(["global", "layer"]),
)
def test_shares_fall_from_round_to_round_and_end_exactly_at_the_ratio(
    ratio: float, rounds: int, schedule: str, scope: str
) -> None:
    config = PartitionConfig(dynamic_ratio=ratio, num_rounds=rounds, schedule=schedule, scope=scope)
    shares = [1.0, *(config.share_after(number) for number in range(1, rounds + 1))]
    assert shares[-1] == ratio
    assert all(0 <= later <= earlier + 1e-12 for earlier, later in pairwise(shares))
