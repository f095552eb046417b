"""Convolution with a kernel of its own for every sample: y_b = conv(x_b, sum_e a_be Theta_e), in exact ways.

Axis letters: B batch, C/O channels in/out, G groups, E kernels, N = O * C/G * height * width elements of a kernel,
n dynamic ones, P output positions.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

from padnet_hf.layers.sample_conv import Geometry, at_once, convolve, convolve_backward, output_layout
from padnet_hf.partition.packing import Packed, unpacked_copies
from padnet_hf.partition.scratch import scratch

_SCRATCH_BYTES = 16 * 2**20
"""Mixed kernels that exist at once on a CPU; measured with benchmarks/dynamic_conv.py."""

_OUTPUT_MIXING = 100
"""Below so many (E - 1) * P, convolving with every kernel is cheaper than mixing kernels for every sample."""


def mixed_conv2d(
    inputs: Tensor, shares: Tensor, kernels: Packed, shape: torch.Size, geometry: Geometry, width: int = 1
) -> Tensor:
    """inputs (B, C, height, width), shares (B, E), E kernels of shape (O, C/G, height, width) -> (B, O, ...).

    Positions in `kernels` are those of rows of `width` elements.

    The way is chosen by shape and device: on small outputs all E convolutions are done and their outputs mixed, on
    others the kernels are mixed by a matrix product, a few samples at a time, and again in the backward pass, so that
    no more than a few mixed kernels exist at once.
    """
    shares = shares.to(kernels.dynamic.dtype)
    few = (shares.shape[1] - 1) * math.prod(geometry.output_size(inputs.shape, shape)) < _OUTPUT_MIXING
    if kernels.static is None and geometry.groups == 1 and few:
        return mix_outputs(inputs, shares, kernels.dynamic.view(-1, *shape), geometry)
    return _MixedConv.apply(inputs, shares, shape, geometry, width, *kernels)


def mix_outputs(inputs: Tensor, shares: Tensor, kernels: Tensor, geometry: Geometry) -> Tensor:
    """The convolution is linear in its kernel: with kernels (E, O, C, height, width), mix the E outputs."""
    outputs = F.conv2d(inputs, kernels.flatten(0, 1).to(inputs.dtype), None, *geometry)
    shape = (len(inputs), kernels.shape[1], *outputs.shape[2:])
    apart = outputs.reshape(len(inputs), len(kernels), math.prod(shape[1:]))
    mixed = torch.bmm(shares.to(apart.dtype).unsqueeze(1), apart).view(shape)
    return mixed.contiguous(memory_format=output_layout(inputs))


class _MixedConv(torch.autograd.Function):
    """Mixed kernels exist while they are used, in the forward and once more in the backward pass."""

    @staticmethod
    def forward(
        inputs: Tensor, shares: Tensor, shape: torch.Size, geometry: Geometry, width: int, *parts: Tensor
    ) -> Tensor:
        kernels = Packed(*parts)
        size = geometry.output_size(inputs.shape, shape)
        outputs = inputs.new_empty((len(inputs), shape[0], *size)).contiguous(memory_format=output_layout(inputs))
        for chunk in _chunks(shares, kernels, shape, inputs):
            for samples, full in chunk.full_kernels(kernels, width, shape, inputs):
                convolve(inputs[samples], full.to(inputs.dtype), geometry, out=outputs[samples])
        return outputs

    @staticmethod
    def setup_context(ctx: FunctionCtx, arguments: tuple, output: Tensor) -> None:
        inputs, shares, ctx.shape, ctx.geometry, ctx.width, *parts = arguments
        ctx.save_for_backward(inputs, shares, *parts)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor | None, ...]:
        inputs, shares, *parts = ctx.saved_tensors
        kernels = Packed(*parts)
        dynamic = kernels.dynamic
        needs_inputs = ctx.needs_input_grad[0]
        grad_inputs = torch.empty_like(inputs) if needs_inputs else None
        grad_shares, grad_dynamic = torch.empty_like(shares), torch.zeros_like(dynamic)
        static = None if kernels.static is None else _StaticGradient(kernels, ctx.width)
        for chunk in _chunks(shares, kernels, ctx.shape, inputs):
            grads = []
            for samples, full in chunk.full_kernels(kernels, ctx.width, ctx.shape, inputs):
                out = grad_inputs[samples] if needs_inputs else None
                full = full.to(inputs.dtype)
                grad_full = convolve_backward(grad[samples], inputs[samples], full, ctx.geometry, out=out)
                grad_full = grad_full.flatten(1).to(dynamic.dtype)
                grads.append(grad_full if static is None else static.take(grad_full))
            grad_mixed = grads[0] if len(grads) == 1 else torch.cat(grads)
            if static is not None:
                grad_mixed = static.scale(grad_mixed, chunk.mixed)
            torch.mm(grad_mixed, dynamic.t(), out=grad_shares[chunk.samples])
            grad_dynamic.addmm_(shares[chunk.samples].t(), grad_mixed)
        rest = () if static is None else static.gradients()
        return grad_inputs, grad_shares, None, None, None, grad_dynamic, *rest, *[None] * (5 - len(rest))


class _StaticGradient:
    """Collects what the gradients of full kernels (b, N) mean for the static part and for both scales."""

    def __init__(self, kernels: Packed, width: int) -> None:
        self.kernels = kernels
        self.width = width
        precision = torch.promote_types(kernels.dynamic.dtype, torch.float32)
        count = kernels.dynamic.shape[1] + kernels.static.shape[0]
        self.total = torch.zeros(count, dtype=precision, device=kernels.dynamic.device)
        self.scale_dynamic = torch.zeros_like(kernels.scale_dynamic)

    def take(self, grad: Tensor) -> Tensor:
        """Gradients of full kernels (b, N) -> of their dynamic elements (b, n)."""
        self.total += grad.sum(dim=0)
        rows = grad.view(len(grad), -1, self.width)
        return rows.index_select(1, self.kernels.dynamic_index).flatten(1)

    def scale(self, grad: Tensor, mixed: Tensor) -> Tensor:
        """Gradients of scaled mixed values (b, n) -> of the values, in the same memory."""
        self.scale_dynamic += torch.dot(grad.flatten(), mixed.flatten())
        return grad.mul_(self.kernels.scale_dynamic)

    def gradients(self) -> tuple[Tensor, Tensor, Tensor]:
        """In static, scale_dynamic and scale_static."""
        rows = self.total.view(-1, self.width)
        grad = rows.index_select(0, self.kernels.static_index).flatten().to(self.kernels.static.dtype)
        scale_static = torch.dot(grad, self.kernels.static)
        return grad.mul_(self.kernels.scale_static), self.scale_dynamic, scale_static


class _Chunk(NamedTuple):
    """Some samples of the batch with their mixed values (b, n), which hold until the next chunk is asked for."""

    samples: slice
    mixed: Tensor

    def full_kernels(
        self, kernels: Packed, width: int, shape: torch.Size, inputs: Tensor
    ) -> Iterator[tuple[slice, Tensor]]:
        """Samples with their kernels (b, *shape), static elements put in; hold until the next are asked for."""
        if kernels.static is None:
            yield self.samples, self.mixed.view(-1, *shape)
            return
        copies = unpacked_copies(self.mixed, *kernels[1:], width)
        if at_once(inputs, shape):
            yield self.samples, torch.stack([copy.clone() for copy in copies]).view(-1, *shape)
            return
        for number, copy in enumerate(copies, start=self.samples.start):
            yield slice(number, number + 1), copy.view(1, *shape)


def _chunks(shares: Tensor, kernels: Packed, shape: torch.Size, inputs: Tensor) -> Iterator[_Chunk]:
    """The whole batch; on a CPU in parts whose kernels fit the scratch memory."""
    dynamic, total = kernels.dynamic, len(shares)
    if inputs.device.type != "cpu":
        yield _Chunk(slice(0, total), shares @ dynamic)
        return
    step = max(1, _SCRATCH_BYTES // (shape.numel() * dynamic.element_size()))
    for start in range(0, total, step):
        samples = slice(start, min(start + step, total))
        some = shares[samples]
        memory = scratch("mixed kernels", len(some) * dynamic.shape[1], dynamic.dtype).view(len(some), -1)
        yield _Chunk(samples, torch.mm(some, dynamic, out=memory))
