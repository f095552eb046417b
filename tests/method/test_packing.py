import pytest
import torch
from torch import Tensor

from padnet_hf.method.packing import (
    count_set,
    first_positions,
    linear_of_copies,
    linear_per_copy,
    mean_over_copies,
    merge,
    merge_by_order,
    num_mask_bytes,
    pack_mask,
    packed_linear,
    packed_order,
    unpack_mask,
    unpacked_copies,
)


@pytest.mark.parametrize("length", range(71))
def test_unpacking_inverts_packing_at_every_length(length: int) -> None:
    mask = torch.rand(length, generator=torch.Generator().manual_seed(length)) < 0.5
    bits = pack_mask(mask)
    assert bits.dtype == torch.uint8
    assert bits.shape == (num_mask_bytes(length),) == (-(-length // 8),)
    unpacked = unpack_mask(bits, length)
    assert unpacked.dtype == torch.bool
    assert torch.equal(unpacked, mask)


@pytest.mark.parametrize(
    ("positions", "length", "expected"),
    [
        ([0], 1, [1]),
        ([7], 8, [128]),
        ([8], 9, [0, 1]),
        ([0, 2, 8], 9, [5, 1]),
        (range(8), 8, [255]),
        ([1, 3, 5, 7, 9, 11], 12, [170, 10]),
        ([], 3, [0]),
    ],
)
def test_bits_are_the_ones_worked_by_hand(positions: list[int], length: int, expected: list[int]) -> None:
    mask = torch.zeros(length, dtype=torch.bool)
    mask[list(positions)] = True
    assert pack_mask(mask).tolist() == expected


@pytest.mark.parametrize("length", [1, 7, 8, 9, 16, 70])
def test_bits_beyond_the_length_are_zero(length: int) -> None:
    padded = unpack_mask(pack_mask(torch.ones(length, dtype=torch.bool)), num_mask_bytes(length) * 8)
    assert int(padded.sum()) == length
    assert not padded[length:].any()


@pytest.mark.parametrize(("count", "length"), [(0, 5), (3, 5), (5, 5), (8, 17), (9, 17)])
def test_first_positions_sets_exactly_the_first(count: int, length: int) -> None:
    assert unpack_mask(first_positions(count, length), length).tolist() == [i < count for i in range(length)]


@pytest.mark.parametrize("num_copies", [1, 3, 5, 7])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_mean_of_equal_copies_is_bit_exact(num_copies: int, dtype: torch.dtype) -> None:
    one = torch.randn(1000, generator=torch.Generator().manual_seed(0)).to(dtype)
    copies = one.repeat(num_copies, 1)
    assert torch.equal(mean_over_copies(copies), one)
    if num_copies == 7 and dtype == torch.float32:
        assert not torch.equal(copies.mean(dim=0), one)  # which a plain mean is not: the case is not vacuous


def test_mean_of_different_copies_is_the_mean_beside_equal_ones() -> None:
    copies = torch.tensor([[1.0, 5.0, 0.1], [2.0, 5.0, 0.1], [6.0, 5.0, 0.1]])
    mean = mean_over_copies(copies)
    assert mean.tolist() == [3.0, 5.0, copies[0, 2].item()]


def _packed(num_copies: int, mask: Tensor, seed: int = 0) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)
    count = int(mask.sum())
    dynamic = torch.randn(num_copies, count, dtype=torch.float64, generator=generator)
    static = torch.randn(len(mask) - count, dtype=torch.float64, generator=generator)
    scales = torch.tensor([1.3, 0.7], dtype=torch.float64)
    inputs = (dynamic, static, scales[0].clone(), scales[1].clone())
    return (*(t.requires_grad_() for t in inputs), mask.nonzero().squeeze(1), (~mask).nonzero().squeeze(1))


_MASKS = [
    torch.tensor([True, False, True, True, False, False, True]),
    torch.tensor([False, False, True]),
    torch.tensor([True, True, False]),
    torch.tensor([False, False]),
    torch.tensor([True, True]),
]


@pytest.mark.parametrize("mask", _MASKS, ids=str)
def test_merge_is_the_papers_formula(mask: Tensor) -> None:
    dynamic, static, scale_dynamic, scale_static, *index = _packed(3, mask)
    merged = merge(dynamic, static, scale_dynamic, scale_static, *index)
    assert merged.shape == (3, len(mask))
    for copy in range(3):
        dynamic_values, static_values = iter(dynamic[copy]), iter(static)
        for position, is_dynamic in enumerate(mask.tolist()):
            expected = scale_dynamic * next(dynamic_values) if is_dynamic else scale_static * next(static_values)
            assert merged[copy, position].item() == expected.item()


@pytest.mark.parametrize("mask", _MASKS, ids=str)
def test_merging_by_order_is_merging_in_values_and_gradients(mask: Tensor) -> None:
    results = []
    for by_order in (False, True):
        *values, dynamic_index, static_index = _packed(3, mask)
        order = packed_order(mask, len(dynamic_index))
        merged = merge_by_order(*values, order) if by_order else merge(*values, dynamic_index, static_index)
        merged.square().sum().backward()
        results.append([merged, *(leaf.grad for leaf in values)])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("mask", _MASKS[:3], ids=str)
def test_merge_has_right_gradients_in_values_and_scales(mask: Tensor) -> None:
    *inputs, dynamic_index, static_index = _packed(3, mask)
    assert torch.autograd.gradcheck(lambda *leaves: merge(*leaves, dynamic_index, static_index), inputs)


def test_merge_keeps_nothing_of_full_size_for_the_backward_pass() -> None:
    mask = torch.arange(64) % 4 == 0
    saved: list[int] = []

    def pack(tensor: Tensor) -> Tensor:
        saved.append(tensor.numel())
        return tensor.detach()

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        merge(*_packed(8, mask))
    assert saved
    assert max(saved) == 8 * 16  # the dynamic values themselves; 8 * 64 were a copy in full


def test_positions_may_take_32_bits() -> None:
    *values, dynamic_index, static_index = _packed(3, _MASKS[0])
    expected = merge(*values, dynamic_index, static_index)
    assert torch.equal(merge(*values, dynamic_index.int(), static_index.int()), expected)


@torch.no_grad()
def test_unpacked_copies_are_the_rows_of_merge_in_one_piece_of_memory() -> None:
    packed = _packed(3, _MASKS[0])
    expected, places = merge(*packed), set()
    for number, copy in enumerate(unpacked_copies(*packed)):
        assert torch.equal(copy, expected[number])
        places.add(copy.data_ptr())
    assert number == 2
    assert len(places) == 1


def _linear_inputs(sizes: tuple[int, ...] = (4, 0, 1)) -> tuple[list[Tensor], Tensor, tuple[Tensor, ...]]:
    """Inputs (T_e, 4) of three copies of a (2, 4) matrix, one without tokens; bias (3, 2); the packed matrix."""
    generator = torch.Generator().manual_seed(4)
    inputs = [torch.randn(n, 4, dtype=torch.float64, generator=generator).requires_grad_() for n in sizes]
    bias = torch.randn(3, 2, dtype=torch.float64, generator=generator).requires_grad_()
    return inputs, bias, _packed(3, torch.tensor([True, False, False, True, True, False, True, False]))


def _linear_by_merge(
    inputs: list[Tensor], num_outputs: int, bias: Tensor | None, *packed: Tensor
) -> tuple[Tensor, ...]:
    copies = merge(*packed).view(3, num_outputs, 4)
    shifts = [0.0] * 3 if bias is None else bias
    return tuple(x @ copy.t() + b for x, copy, b in zip(inputs, copies, shifts, strict=True))


@pytest.mark.parametrize("has_bias", [True, False])
def test_packed_linear_equals_merge_and_product_in_values_and_gradients(has_bias: bool) -> None:
    inputs, bias, packed = _linear_inputs()
    bias = bias if has_bias else None
    leaves = [leaf for leaf in (bias, *packed[:4], *inputs) if leaf is not None]
    results = []
    for linear in (packed_linear, _linear_by_merge):
        outputs = linear(inputs, 2, bias, *packed)
        results.append((*outputs, *torch.autograd.grad(sum(o.square().sum() for o in outputs), leaves)))
    for packed_result, merged_result in zip(*results, strict=True):
        torch.testing.assert_close(packed_result, merged_result, rtol=1e-12, atol=1e-12)


def test_packed_linear_has_right_gradients() -> None:
    inputs, bias, packed = _linear_inputs()

    def linear(bias: Tensor, *leaves: Tensor) -> tuple[Tensor, ...]:
        return packed_linear(leaves[4:], 2, bias, *leaves[:4], *packed[4:])

    assert torch.autograd.gradcheck(linear, (bias, *packed[:4], *inputs))


@pytest.mark.parametrize("frozen", ["inputs", "packed", "bias"])
def test_packed_linear_gives_no_gradient_to_what_is_frozen(frozen: str) -> None:
    inputs, bias, packed = _linear_inputs()
    groups = {"inputs": inputs, "packed": packed[:4], "bias": [bias]}
    for leaf in groups[frozen]:
        leaf.requires_grad_(False)
    leaves = [leaf for name, group in groups.items() if name != frozen for leaf in group]
    loss, expected = (
        sum(o.square().sum() for o in linear(inputs, 2, bias, *packed)) for linear in (packed_linear, _linear_by_merge)
    )
    for one, other in zip(torch.autograd.grad(loss, leaves), torch.autograd.grad(expected, leaves), strict=True):
        torch.testing.assert_close(one, other)


def test_packed_linear_keeps_nothing_of_full_size_for_the_backward_pass() -> None:
    saved: list[int] = []

    def pack(tensor: Tensor) -> Tensor:
        saved.append(tensor.numel())
        return tensor.detach()

    mask = torch.arange(8 * 16) % 4 == 0
    inputs = [torch.randn(2, 16, dtype=torch.float64) for _ in range(8)]
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        packed_linear(inputs, 8, torch.zeros(8, 8, dtype=torch.float64), *_packed(8, mask))
    assert max(saved) == 8 * 32  # the dynamic values


def test_linear_per_copy_computes_in_the_dtype_of_the_inputs() -> None:
    copies, bias = torch.randn(2, 3, 4), torch.randn(2, 3)
    inputs = [torch.randn(n, 4, dtype=torch.bfloat16) for n in (2, 0)]
    for number, output in enumerate(linear_per_copy(inputs, copies, bias)):
        assert output.dtype == torch.bfloat16
        expected = inputs[number].float() @ copies[number].t() + bias[number]
        torch.testing.assert_close(output.float(), expected, rtol=0.05, atol=0.05)


@pytest.mark.parametrize("length", [1, 8, 1001])
def test_set_positions_are_counted(length: int) -> None:
    mask = torch.rand(length, generator=torch.Generator().manual_seed(0)) < 0.5
    assert count_set(pack_mask(mask)) == int(mask.sum())


def test_gradients_of_copies_can_be_differentiated_again() -> None:
    generator = torch.Generator().manual_seed(0)
    copies, bias, one, other = (
        torch.randn(*shape, generator=generator, dtype=torch.float64).requires_grad_()
        for shape in ((2, 3, 4), (2, 3), (5, 4), (1, 4))
    )

    def outputs(*tensors: Tensor) -> tuple[Tensor, ...]:
        return tuple(linear_of_copies(tensors[2:], *tensors[:2]))

    assert torch.autograd.gradcheck(outputs, (copies, bias, one, other))
    assert torch.autograd.gradgradcheck(outputs, (copies, bias, one, other))
