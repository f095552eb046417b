"""Masks as bits, and dense tensors as packed values: pure functions, no modules.

Axis letters: E copies, N = O*I elements of one copy, n dynamic elements, T tokens, I inputs, O outputs.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import repeat
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

from padnet_hf.method.batched import is_batched, merge_at_once, packed_gradients_at_once, static_gradients


class Packed(NamedTuple):
    """Copies that share their static elements; without any, `dynamic` alone.

    dynamic (E, n), static (N-n,), scales of shape (), dynamic_index (n,) and static_index (N-n,) the positions of the
    mask's ones and zeros in rising order, int32 or int64. With a mask for each copy static is (N,), dynamic_index
    (E, n), and there is no static_index.
    """

    dynamic: Tensor
    static: Tensor | None = None
    scale_dynamic: Tensor | None = None
    scale_static: Tensor | None = None
    dynamic_index: Tensor | None = None
    static_index: Tensor | None = None


def num_mask_bytes(length: int) -> int:
    """Bytes that a mask over `length` positions takes: one bit each."""
    return (length + 7) // 8


def pack_mask(mask: Tensor) -> Tensor:
    """Mask (..., N) bool -> bits (..., ceil(N/8)) uint8; position 8i+b is bit b (value 2**b) of byte i, the rest zero.

    >>> pack_mask(torch.tensor([True, False, True, False, False, False, False, False, True]))
    tensor([5, 1], dtype=torch.uint8)
    """
    *rows, length = mask.shape
    padded = torch.zeros(*rows, num_mask_bytes(length) * 8, dtype=torch.bool, device=mask.device)
    padded[..., :length] = mask
    eight = padded.view(torch.int64)  # byte b of each is 0 or 1: the product moves it to bit b of the highest byte
    return (eight * 0x0102040810204080 >> 56).to(torch.uint8)


def unpack_mask(bits: Tensor, length: int) -> Tensor:
    """Bits (..., ceil(N/8)) uint8 -> mask (..., N) bool, the inverse of `pack_mask`."""
    values = torch.tensor([1 << bit for bit in range(8)], device=bits.device)  # ONNX has no shift of tensors
    bits_of_byte = (torch.arange(256, device=bits.device).unsqueeze(1) & values).bool()
    bytes_apart = bits_of_byte.index_select(0, bits.flatten().int())
    return bytes_apart.view(*bits.shape[:-1], -1)[..., :length]


def count_set(bits: Tensor) -> int:
    """How many positions are set in bits, uint8."""
    return int(np.bitwise_count(bits.cpu().numpy()).sum())


def positions_of(mask: Tensor) -> Tensor:
    """Positions of the ones of a mask (N,) bool, int64, in rising order."""
    if mask.device.type == "cpu" and not torch.compiler.is_compiling():
        return torch.from_numpy(np.flatnonzero(mask.numpy()))  # in a tenth of the time
    return mask.nonzero().squeeze(1)


def first_positions(
    count: int, length: int, device: torch.device | None = None, copies: tuple[int, ...] = ()
) -> Tensor:
    """Bits of the mask whose first `count` of `length` positions are set: the mask of a freshly initialised weight.

    copies: (E,) for a mask of each copy.
    """
    mask = torch.zeros(*copies, length, dtype=torch.bool, device=device)
    mask[..., :count] = True
    return pack_mask(mask)


def mean_over_copies(copies: Tensor) -> Tensor:
    """Copies (E, ...) -> their mean (...): the value a static parameter starts with (ours; the paper leaves it open).

    Copies that are all equal, as they are after upcycling, keep their exact value: a mean over E floats would round it.
    """
    equal = torch.ones_like(copies[0], dtype=torch.bool)
    for copy in copies[1:]:
        equal &= copy == copies[0]
    return torch.where(equal, copies[0], copies.mean(dim=0))


def weighted_mean(copies: Tensor, shares: Iterable[Tensor]) -> Tensor:
    """Copies (E, ...) -> their mean (...), each times its share (broadcast to (...)), which sum to one.

    Copies that are all equal keep their exact value.
    """
    precision = torch.promote_types(copies.dtype, torch.float32)
    equal, mean = torch.ones_like(copies[0], dtype=torch.bool), torch.zeros_like(copies[0], dtype=precision)
    for copy, share in zip(copies, shares, strict=True):
        equal &= copy == copies[0]
        mean.addcmul_(copy.to(precision), share.to(precision))
    return torch.where(equal, copies[0], mean.to(copies.dtype))


def unpacked_copies(
    dynamic: Tensor,
    static: Tensor,
    scale_dynamic: Tensor,
    scale_static: Tensor,
    dynamic_index: Tensor,
    static_index: Tensor | None,
    width: int = 1,
    chosen: Sequence[int] | None = None,
) -> Iterator[Tensor]:
    """The copies (N,) one after the other, or those `chosen`, to be used with gradients off; arguments as for `merge`.

    With `width` the positions are those of rows of so many elements: whole units, which are faster to put in place.
    All lie in the same memory, of which only the dynamic positions change: use a copy before asking for the next.
    """
    copy = dynamic.new_empty(num_packed(dynamic, static, static_index))
    if static_index is None:
        shared = static * scale_static
        for number in range(len(dynamic)) if chosen is None else chosen:
            own = dynamic_index[number].long()
            yield copy.copy_(shared).scatter_(0, own, dynamic[number] * scale_dynamic)
        return
    of_copies = dynamic if chosen is None else map(dynamic.__getitem__, chosen)
    if width > 1:
        rows = copy.view(-1, width)
        rows.index_copy_(0, static_index.long(), (static * scale_static).view(-1, width))
        positions = dynamic_index.long()
        for values in of_copies:
            rows.index_copy_(0, positions, (values * scale_dynamic).view(-1, width))
            yield copy
        return
    copy.scatter_(0, static_index.long(), static * scale_static)
    positions = dynamic_index.long()  # kept in 32 bits for memory, but 64 are faster to scatter by
    for values in of_copies:
        yield copy.scatter_(0, positions, values * scale_dynamic)


def num_packed(dynamic: Tensor, static: Tensor, static_index: Tensor | None) -> int:
    """N, of values packed as `Packed` says."""
    return static.shape[0] + (0 if static_index is None else dynamic.shape[1])


def packed_order(mask: Tensor, num_dynamic: int) -> Tensor:
    """Where each of N positions stands among packed values, dynamic ones before static ones, (N,) int64.

    The shape does not depend on the mask (N,) bool, unlike that of its positions: for graphs, where they are unknown.
    A mask of each copy, (E, N), gives (E, N).

    >>> packed_order(torch.tensor([True, False, False, True]), 2)
    tensor([0, 2, 3, 1])
    """
    count = mask.cumsum(-1)
    static = torch.arange(mask.shape[-1], device=mask.device)
    static = static - count if mask.dim() == 1 else static.expand_as(mask)
    return torch.where(mask, count - 1, num_dynamic + static)


def merge_by_order(
    dynamic: Tensor, static: Tensor, scale_dynamic: Tensor, scale_static: Tensor, order: Tensor
) -> Tensor:
    """`merge` as one gather by `packed_order`, without a write in place: what compilers and exporters take best."""
    shared = (static * scale_static).to(dynamic.dtype).expand(dynamic.shape[0], -1)
    packed = torch.cat([dynamic * scale_dynamic, shared], dim=1)
    return packed.index_select(1, order) if order.dim() == 1 else packed.gather(1, order)


def first_of_copies(copies: Tensor) -> Tensor:
    """Copies (E, ...) -> the first (...), in memory of its own: of copies drawn apart at random, a draw like each."""
    return copies[0].clone()


class _Merge(torch.autograd.Function):
    """`merge` with a backward of its own: nothing of size (E, N) is kept, and the static gradient is summed at once."""

    @staticmethod
    def forward(memory: Tensor | None, *packed: Tensor) -> Tensor:
        dynamic, static = packed[:2]
        if is_batched(dynamic.device):
            return merge_at_once(memory, *packed)
        shape = (dynamic.shape[0], num_packed(dynamic, static, packed[5]))
        dense = dynamic.new_empty(shape) if memory is None else memory.view(shape)
        for number, copy in enumerate(unpacked_copies(*packed)):
            dense[number] = copy
        return dense

    @staticmethod
    def setup_context(ctx: FunctionCtx, inputs: tuple[Tensor | None, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[1:])

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor | None, ...]:
        if is_batched(grad.device):
            return None, *packed_gradients_at_once(grad, *ctx.saved_tensors), None, None
        return None, *_packed_gradients(iter(grad), *ctx.saved_tensors), None, None


def _packed_gradients(
    gradients: Iterator[Tensor],
    dynamic: Tensor,
    static: Tensor,
    scale_dynamic: Tensor,
    scale_static: Tensor,
    dynamic_index: Tensor,
    static_index: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients in every copy (N,), taken one after the other -> those in dynamic, static and the two scales."""
    grad_dynamic = torch.empty_like(dynamic)
    grad_scale_dynamic = torch.zeros_like(scale_dynamic)
    precision = torch.promote_types(dynamic.dtype, torch.float32)
    total = dynamic.new_zeros(num_packed(dynamic, static, static_index), dtype=precision)
    positions = repeat(dynamic_index, len(dynamic)) if static_index is not None else dynamic_index
    for gradient, values, index, grad_values in zip(gradients, dynamic, positions, grad_dynamic, strict=True):
        torch.index_select(gradient, 0, index, out=grad_values)
        total += gradient if static_index is not None else gradient.index_fill(0, index.long(), 0)
        grad_scale_dynamic += torch.dot(grad_values, values)
        grad_values.mul_(scale_dynamic)
    at_static = total if static_index is None else total.index_select(0, static_index)
    grad_static, grad_scale_static = static_gradients(at_static, static, scale_static)
    return grad_dynamic, grad_static, grad_scale_dynamic, grad_scale_static


def merge(
    dynamic: Tensor,
    static: Tensor,
    scale_dynamic: Tensor,
    scale_static: Tensor,
    dynamic_index: Tensor,
    static_index: Tensor | None,
    memory: Tensor | None = None,
) -> Tensor:
    """lambda_d * M * Theta_dynamic + lambda_s * (1 - M) * Theta_static (PAD-Net, section 3) from packed values.

    They are packed as `Packed` says; M is one mask, or each copy's own. Gives (E, N), in `memory` (E * N,) if given,
    differentiable once in the first four.
    """
    return _Merge.apply(memory, dynamic, static, scale_dynamic, scale_static, dynamic_index, static_index)


def write_copies(places: Tensor, chosen: Sequence[int], *packed: Tensor) -> None:
    """Write these copies into their places of (E, N), to be used with gradients off; packed as for `merge`."""
    if len(chosen) == len(places) and is_batched(places.device):
        merge_at_once(places, *packed)
        return
    for number, copy in zip(chosen, unpacked_copies(*packed, chosen=chosen), strict=True):
        places[number] = copy


def linear_per_copy(
    inputs: Iterable[Tensor], copies: Iterable[Tensor], bias: Iterable[Tensor] | None
) -> Iterator[Tensor]:
    """inputs[e] (T_e, I) times copies[e] (O, I) plus bias[e] (O,), if there are any, each worked out when asked for."""
    shifts = repeat(None) if bias is None else bias
    for values, copy, shift in zip(inputs, copies, shifts, strict=bias is not None):
        yield F.linear(values, copy.to(values.dtype), None if shift is None else shift.to(values.dtype))


class _CopiesLinear(torch.autograd.Function):
    """`linear_per_copy` with a backward of its own: gradients of copies go to their place one by one, not stacked."""

    @staticmethod
    def forward(copies: Tensor, bias: Tensor | None, *inputs: Tensor) -> tuple[Tensor, ...]:
        return tuple(linear_per_copy(inputs, copies, bias))

    @staticmethod
    def setup_context(ctx: FunctionCtx, inputs: tuple[Tensor, ...], output: tuple[Tensor, ...]) -> None:
        copies, _, *values = inputs
        ctx.save_for_backward(copies, *values)

    @staticmethod
    def backward(ctx: FunctionCtx, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        copies, *inputs = ctx.saved_tensors
        grad_copies, grad_bias, grad_inputs = None, None, [None] * len(inputs)
        if ctx.needs_input_grad[0]:
            grad_copies = torch.empty_like(copies)
            for number, (grad, values) in enumerate(zip(gradients, inputs, strict=True)):
                _write_product(grad_copies[number], grad.t(), values)
        if ctx.needs_input_grad[1]:
            grad_bias = torch.stack([grad.sum(dim=0) for grad in gradients])
        if any(ctx.needs_input_grad[2:]):
            grad_inputs = [grad @ copy.to(grad.dtype) for grad, copy in zip(gradients, copies, strict=True)]
        return grad_copies, grad_bias, *grad_inputs


def _write_product(place: Tensor, one: Tensor, other: Tensor) -> None:
    """place = one @ other: at once, unless this is to be differentiated again or the dtype has to change."""
    if torch.is_grad_enabled() or place.dtype != one.dtype:
        place.copy_(one @ other)
    else:
        torch.mm(one, other, out=place)


def linear_of_copies(inputs: Iterable[Tensor], copies: Tensor, bias: Tensor | None) -> Iterable[Tensor]:
    """`linear_per_copy` of copies (E, O, I) and bias (E, O) that exist; in training for all inputs at once."""
    if torch.is_grad_enabled() and not torch.compiler.is_compiling():
        return _CopiesLinear.apply(copies, bias, *inputs)
    return linear_per_copy(inputs, copies, bias)


def linear_of_some(
    inputs: Iterable[Tensor], copies: Tensor, bias: Tensor | None, chosen: Sequence[int]
) -> Iterator[Tensor]:
    """`linear_per_copy` of these copies alone, to be used with gradients off; the others are not touched."""
    shifts = None if bias is None else (bias[copy] for copy in chosen)
    return linear_per_copy(inputs, (copies[copy] for copy in chosen), shifts)


class _PackedLinear(torch.autograd.Function):
    """`packed_linear`; each copy exists while it is used, in the forward and once more in the backward pass."""

    @staticmethod
    def forward(num_outputs: int, bias: Tensor | None, *packed_and_inputs: Tensor) -> tuple[Tensor, ...]:
        packed, inputs = packed_and_inputs[:6], packed_and_inputs[6:]
        return tuple(linear_per_copy(inputs, _matrices(packed, num_outputs), bias))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.num_outputs, ctx.bias_dtype = inputs[0], None if inputs[1] is None else inputs[1].dtype
        ctx.save_for_backward(*inputs[2:])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        saved = ctx.saved_tensors  # once: checkpointing gives them out no second time
        packed, inputs = saved[:6], saved[6:]
        grad_inputs = [None] * len(inputs)
        if any(ctx.needs_input_grad[8:]):
            matrices = _matrices(packed, ctx.num_outputs)
            grad_inputs = [grad @ copy.to(grad.dtype) for grad, copy in zip(gradients, matrices, strict=True)]
        grad_packed = (None,) * 4
        if any(ctx.needs_input_grad[2:6]):
            products = (grad.t() @ values for grad, values in zip(gradients, inputs, strict=True))
            grad_packed = _packed_gradients((p.flatten().to(packed[0].dtype) for p in products), *packed)
        grad_bias = None
        if ctx.bias_dtype is not None:
            grad_bias = torch.stack([grad.sum(dim=0) for grad in gradients]).to(ctx.bias_dtype)
        return None, grad_bias, *grad_packed, None, None, *grad_inputs


def _matrices(packed: Sequence[Tensor], num_outputs: int) -> Iterator[Tensor]:
    return (copy.view(num_outputs, -1) for copy in unpacked_copies(*packed))


def packed_linear(
    inputs: Iterable[Tensor], num_outputs: int, bias: Tensor | None, *packed: Tensor
) -> tuple[Tensor, ...]:
    """`linear_per_copy` over the copies (E, O, I) that `merge` would give of the same arguments, `packed`.

    No more than one copy exists at a time, and its gradient goes straight into the packed ones: less memory, and less
    time too, since a copy that fits the processor's cache is used there.
    """
    return _PackedLinear.apply(num_outputs, bias, *packed, *inputs)
