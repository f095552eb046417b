"""Masks as bits, and dense tensors as packed values: pure functions, no modules.

Axis letters: E copies, N elements of one copy, n dynamic elements.
"""

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

_BIT_VALUES = (1, 2, 4, 8, 16, 32, 64, 128)


def num_mask_bytes(length: int) -> int:
    """Bytes that a mask over `length` positions takes: one bit each."""
    return (length + 7) // 8


def pack_mask(mask: Tensor) -> Tensor:
    """Mask (N,) bool -> bits (ceil(N/8),) uint8; position 8i+b is bit b (value 2**b) of byte i, the rest is zero.

    >>> pack_mask(torch.tensor([True, False, True, False, False, False, False, False, True]))
    tensor([5, 1], dtype=torch.uint8)
    """
    padded = torch.zeros(num_mask_bytes(mask.numel()) * 8, dtype=torch.uint8, device=mask.device)
    padded[: mask.numel()] = mask.flatten()
    bits = torch.tensor(_BIT_VALUES, dtype=torch.uint8, device=mask.device)
    return (padded.view(-1, 8) * bits).sum(dim=1, dtype=torch.uint8)


def unpack_mask(bits: Tensor, length: int) -> Tensor:
    """Bits (ceil(N/8),) uint8 -> mask (N,) bool, the inverse of `pack_mask`."""
    values = torch.tensor(_BIT_VALUES, dtype=torch.uint8, device=bits.device)
    return (bits.unsqueeze(1) & values).ne(0).flatten()[:length]


def first_positions(count: int, length: int, device: torch.device | None = None) -> Tensor:
    """Bits of the mask whose first `count` of `length` positions are set: the mask of a freshly initialised weight."""
    return pack_mask(torch.arange(length, device=device) < count)


def mean_over_copies(copies: Tensor) -> Tensor:
    """Copies (E, ...) -> their mean (...): the value a static parameter starts with (ours; the paper leaves it open).

    Copies that are all equal, as they are after upcycling, keep their exact value: a mean over E floats would round it.
    """
    equal = (copies == copies[:1]).all(dim=0)
    return torch.where(equal, copies[0], copies.mean(dim=0))


class _Merge(torch.autograd.Function):
    """`merge` with a backward of its own: nothing of size (E, N) is kept, and the static gradient is summed at once."""

    @staticmethod
    def forward(
        dynamic: Tensor,
        static: Tensor,
        scale_dynamic: Tensor,
        scale_static: Tensor,
        dynamic_index: Tensor,
        static_index: Tensor,
    ) -> Tensor:
        num_copies, length = dynamic.shape[0], dynamic.shape[1] + static.shape[0]
        shared = dynamic.new_empty(length)
        shared[static_index] = static * scale_static
        dense = dynamic.new_empty(num_copies, length)
        for copy, values in zip(dense, dynamic, strict=True):
            copy.copy_(shared)
            copy[dynamic_index] = values * scale_dynamic
        return dense

    @staticmethod
    def setup_context(ctx: FunctionCtx, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor | None, ...]:
        dynamic, static, scale_dynamic, scale_static, dynamic_index, static_index = ctx.saved_tensors
        grad_dynamic = grad.index_select(1, dynamic_index)
        grad_static = grad.sum(dim=0).index_select(0, static_index)
        grad_scale_dynamic = (grad_dynamic * dynamic).sum()
        grad_scale_static = (grad_static * static).sum()
        grad_dynamic.mul_(scale_dynamic)
        grad_static.mul_(scale_static)
        return grad_dynamic, grad_static, grad_scale_dynamic, grad_scale_static, None, None


def merge(
    dynamic: Tensor,
    static: Tensor,
    scale_dynamic: Tensor,
    scale_static: Tensor,
    dynamic_index: Tensor,
    static_index: Tensor,
) -> Tensor:
    """lambda_d * M * Theta_dynamic + lambda_s * (1 - M) * Theta_static (PAD-Net, section 3) from packed values.

    dynamic (E, n), static (N-n,), scales of shape (), dynamic_index (n,) and static_index (N-n,) the positions of the
    mask's ones and zeros in rising order; gives (E, N), differentiable once in the first four.
    """
    return _Merge.apply(dynamic, static, scale_dynamic, scale_static, dynamic_index, static_index)
