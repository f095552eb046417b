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

from padnet_hf.layers.conv_paths import paths
from padnet_hf.layers.sample_conv import Geometry, at_once, convolve, convolve_backward, output_layout, skipped
from padnet_hf.method.batched import merge_at_once, static_gradients
from padnet_hf.method.packing import Packed, unpacked_copies
from padnet_hf.method.scratch import scratch


def mixed_conv2d(
    inputs: Tensor,
    shares: Tensor,
    kernels: Packed,
    shape: torch.Size,
    geometry: Geometry,
    width: int = 1,
    scratch_for: str | None = None,
) -> Tensor:
    """inputs (B, C, height, width), shares (B, E), E kernels of shape (O, C/G, height, width) -> (B, O, ...).

    Positions in `kernels` are those of rows of `width` elements. With `scratch_for`, a purpose, and gradients off the
    result may hold only until something is computed for it again.

    The way is chosen by shape and device: on small outputs all E convolutions are done and their outputs mixed, on
    others the kernels are mixed by a matrix product, a few samples at a time, and again in the backward pass, so that
    no more than a few mixed kernels exist at once.
    """
    shares = shares.to(kernels.dynamic.dtype)
    if kernels.static is None and is_mixed_after(inputs, len(kernels.dynamic), shape, geometry):
        return mix_outputs(inputs, shares, kernels.dynamic.view(-1, *shape), geometry)
    inputs, geometry = skipped(inputs, shape, geometry)
    if torch.is_grad_enabled():
        return _MixedConv.apply(inputs, shares, shape, geometry, width, *kernels)
    return _convolve_mixed(inputs, shares, kernels, shape, geometry, width, scratch_for)


def is_mixed_after(inputs: Tensor, num_kernels: int, shape: torch.Size, geometry: Geometry) -> bool:
    """Whether to convolve with every kernel and mix the outputs, rather than the kernels."""
    few = (num_kernels - 1) * math.prod(geometry.output_size(inputs.shape, shape)) < paths().output_mixing
    return geometry.groups == 1 and few


def mix_outputs(inputs: Tensor, shares: Tensor, kernels: Tensor, geometry: Geometry) -> Tensor:
    """The convolution is linear in its kernel: with kernels (E, O, C, height, width), mix the E outputs."""
    outputs = F.conv2d(inputs, kernels.flatten(0, 1).to(inputs.dtype), None, *geometry)
    shape = (inputs.shape[0], kernels.shape[1], *outputs.shape[2:])  # a graph takes what len() gives for a constant
    apart = outputs.reshape(shape[0], len(kernels), math.prod(shape[1:]))
    mixed = torch.bmm(shares.to(apart.dtype).unsqueeze(1), apart).view(shape)
    return mixed.contiguous(memory_format=output_layout(inputs))


def _convolve_mixed(
    inputs: Tensor,
    shares: Tensor,
    kernels: Packed,
    shape: torch.Size,
    geometry: Geometry,
    width: int,
    scratch_for: str | None = None,
) -> Tensor:
    if width > 1:  # scaled here, once for all samples
        shares, kernels = shares * kernels.scale_dynamic, kernels._replace(scale_dynamic=None)
    if inputs.shape[0] == 1 and inputs.device.type == "cpu" and inputs.is_contiguous():
        values = kernels.dynamic
        if kernels.static is not None or values.shape[1] * values.element_size() <= paths().block_bytes:
            return F.conv2d(inputs, _one_kernel(shares, kernels, width).view(shape).to(inputs.dtype), None, *geometry)
    size = (inputs.shape[0], shape[0], *geometry.output_size(inputs.shape, shape))
    layout = output_layout(inputs)
    if scratch_for is None or inputs.device.type != "cpu" or layout is torch.channels_last:
        outputs = torch.empty(size, dtype=inputs.dtype, device=inputs.device, memory_format=layout)
    else:
        outputs = scratch(scratch_for, math.prod(size), inputs.dtype).view(size)
    for chunk in _chunks(shares, kernels, shape, inputs):
        for samples, full in chunk.full_kernels(kernels, width, shape, inputs):
            convolve(inputs[samples], full.to(inputs.dtype), geometry, out=outputs[samples, chunk.channels])
    return outputs


def _one_kernel(shares: Tensor, kernels: Packed, width: int) -> Tensor:
    """The kernel (N,) of a single sample, which is convolved with as with any; holds until the next is asked for."""
    values = kernels.dynamic
    mixed = torch.mm(shares, values, out=scratch("mixed kernels", values.shape[1], values.dtype).view(1, -1))
    if kernels.static is None:
        return mixed
    return next(
        unpacked_copies(mixed, *kernels[1:])
        if width == 1
        else _with_static_rows(mixed.view(1, -1, width), kernels, count=1)
    )


class _MixedConv(torch.autograd.Function):
    """Mixed kernels exist while they are used, in the forward and once more in the backward pass."""

    @staticmethod
    def forward(
        inputs: Tensor, shares: Tensor, shape: torch.Size, geometry: Geometry, width: int, *parts: Tensor
    ) -> Tensor:
        return _convolve_mixed(inputs, shares, Packed(*parts), shape, geometry, width)

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
        grad_inputs = torch.empty_like(inputs) if ctx.needs_input_grad[0] else None
        grad_shares, grad_dynamic = torch.zeros_like(shares), torch.zeros_like(dynamic)
        static = None if kernels.static is None else _StaticGradient(kernels, ctx.width)
        for chunk in _chunks(shares, kernels, ctx.shape, inputs):
            grads = []
            for samples, full in chunk.full_kernels(kernels, ctx.width, ctx.shape, inputs):
                out = None if grad_inputs is None else grad_inputs[samples]
                full, some = full.to(inputs.dtype), grad[samples, chunk.channels]
                add = chunk.channels.start > 0  # to the gradient from the channels before these
                grad_full = convolve_backward(some, inputs[samples], full, ctx.geometry, out, add)
                grad_full = grad_full.flatten(1).to(dynamic.dtype)
                grads.append(grad_full if static is None else static.take(grad_full))
            grad_mixed = grads[0] if len(grads) == 1 else torch.cat(grads)
            if static is not None:
                grad_mixed = static.scale(grad_mixed, chunk.mixed)
            grad_shares[chunk.samples].addmm_(grad_mixed, dynamic[:, chunk.elements].t())
            grad_dynamic[:, chunk.elements].addmm_(shares[chunk.samples].t(), grad_mixed)
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
        at_static = rows.index_select(0, self.kernels.static_index).flatten()
        grad, scale_static = static_gradients(at_static, self.kernels.static, self.kernels.scale_static)
        return grad, self.scale_dynamic, scale_static


class _Chunk(NamedTuple):
    """Mixed values (b, n) of some samples and output channels, which hold until the next chunk is asked for.

    elements: the positions of the same channels' values in a copy. With a static part these are always all.
    """

    samples: slice
    channels: slice
    elements: slice
    mixed: Tensor

    def full_kernels(
        self, kernels: Packed, width: int, shape: torch.Size, inputs: Tensor
    ) -> Iterator[tuple[slice, Tensor]]:
        """Samples with their kernels (b, o, ...), static elements put in; hold until the next are asked for."""
        if kernels.static is None:
            yield self.samples, self.mixed.view(len(self.mixed), -1, *shape[1:])
            return
        together = at_once(inputs, shape)
        if width > 1:
            count = len(self.mixed) if together else 1
            copies = _with_static_rows(self.mixed.view(len(self.mixed), -1, width), kernels, count)
        elif together:
            copies, count = (merge_at_once(None, self.mixed, *kernels[1:]),), len(self.mixed)
        else:
            copies, count = unpacked_copies(self.mixed, *kernels[1:]), 1
        for start, copy in zip(range(self.samples.start, self.samples.stop, count), copies, strict=True):
            yield slice(start, start + count), copy.view(count, *shape)


def _with_static_rows(mixed: Tensor, kernels: Packed, count: int) -> Iterator[Tensor]:
    """Mixed rows (b, d, width) with the static ones in their places (count, U, width), `count` samples at a time.

    All lie in the same memory, of which only the dynamic rows change: use them before asking for the next.
    """
    width, dtype = mixed.shape[2], mixed.dtype
    static = (kernels.static * kernels.scale_static).view(-1, width)
    total = mixed.shape[1] + static.shape[0]
    on_cpu = mixed.device.type == "cpu"
    memory = scratch("full kernels", count * total * width, dtype) if on_cpu else mixed.new_empty(count * total * width)
    rows = memory.view(count, total, width)
    rows.index_copy_(1, kernels.static_index, static.expand(count, -1, -1))
    for some in mixed.split(count):
        scaled = some if kernels.scale_dynamic is None else some * kernels.scale_dynamic
        yield rows.index_copy_(1, kernels.dynamic_index, scaled)


def _chunks(shares: Tensor, kernels: Packed, shape: torch.Size, inputs: Tensor) -> Iterator[_Chunk]:
    """All at once; on a CPU by blocks of output channels, and by samples whose kernels fit the scratch memory."""
    dynamic, in_blocks = kernels.dynamic, kernels.static is None and inputs.shape[1] == shape[1]
    all_channels, all_elements = slice(0, shape[0]), slice(0, dynamic.shape[1])
    if inputs.device.type != "cpu":
        if shares.shape[0] == 0:
            return
        yield _Chunk(slice(0, len(shares)), all_channels, all_elements, shares @ dynamic)
        return
    channel, size = shape[1:].numel(), dynamic.element_size()
    in_full = kernels.static is not None and at_once(inputs, shape)
    most = paths().block_bytes // (channel * size)
    for channels in _parts(shape[0], most, paths().lanes) if in_blocks else (all_channels,):
        elements = slice(channels.start * channel, channels.stop * channel) if in_blocks else all_elements
        values = dynamic[:, elements]
        sample_bytes = (shape.numel() if in_full else values.shape[1]) * size
        for samples in _parts(len(shares), paths().scratch_bytes // sample_bytes):
            some = shares[samples]
            memory = scratch("mixed kernels", len(some) * values.shape[1], dynamic.dtype).view(len(some), -1)
            yield _Chunk(samples, channels, elements, torch.mm(some, values, out=memory))


def _parts(total: int, most: int, multiple: int = 1) -> Iterator[slice]:
    """Parts of 0..total of equal length, a multiple of `multiple`, of about `most`; only the last may be shorter."""
    count = math.ceil(total / max(most, 1))
    length = math.ceil(total / max(count, 1) / multiple) * multiple
    for start in range(0, total, max(length, 1)):
        yield slice(start, min(start + length, total))
