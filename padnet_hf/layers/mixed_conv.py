"""Convolution with a kernel of its own for every sample: y_b = conv(x_b, sum_e a_be Theta_e), in exact ways.

Axis letters: B batch, C/O channels in/out, G groups, E kernels, N = O * C/G * height * width elements of a kernel,
n dynamic ones, P output positions.
"""

import threading
from collections.abc import Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

from padnet_hf.partition.packing import Packed, unpacked_copies

_SCRATCH_BYTES = 32 * 2**20
"""Mixed kernels that exist at once on a CPU; measured with benchmarks/dynamic_conv.py."""

_SMALL_KERNEL = 40_000
"""Up to so many elements, a CPU convolves many samples at once faster than one after the other."""

_OUTPUT_MIXING = 100
"""Below so many (E - 1) * P, convolving with every kernel is cheaper than mixing kernels for every sample."""


class Geometry(NamedTuple):
    """How a convolution walks over its input; padding is with zeros and the same on both sides."""

    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    groups: int

    def output_positions(self, inputs: torch.Size, kernel: torch.Size) -> int:
        """P for inputs (..., height, width) and a kernel (..., height, width)."""
        total = 1
        for size, width, stride, pad, step in zip(inputs[-2:], kernel[-2:], *self[:3], strict=True):
            total *= (size + 2 * pad - step * (width - 1) - 1) // stride + 1
        return total


def mixed_conv2d(inputs: Tensor, shares: Tensor, kernels: Packed, shape: torch.Size, geometry: Geometry) -> Tensor:
    """inputs (B, C, height, width), shares (B, E), E kernels of shape (O, C/G, height, width) -> (B, O, ...).

    The way is chosen by shape and device: on small outputs all E convolutions are done and their outputs mixed, on
    others the kernels are mixed by a matrix product, a few samples at a time, and again in the backward pass, so that
    no more than a few mixed kernels exist at once.
    """
    shares = shares.to(kernels.dynamic.dtype)
    few = (shares.shape[1] - 1) * geometry.output_positions(inputs.shape, shape) < _OUTPUT_MIXING
    if kernels.static is None and geometry.groups == 1 and few:
        return mix_outputs(inputs, shares, kernels.dynamic.view(-1, *shape), geometry)
    return _MixedConv.apply(inputs, shares, shape, geometry, *kernels)


def mix_outputs(inputs: Tensor, shares: Tensor, kernels: Tensor, geometry: Geometry) -> Tensor:
    """The convolution is linear in its kernel: with kernels (E, O, C, height, width), mix the E outputs."""
    outputs = F.conv2d(inputs, kernels.flatten(0, 1).to(inputs.dtype), None, *geometry)
    apart = outputs.reshape(len(inputs), len(kernels), -1)
    mixed = torch.bmm(shares.to(apart.dtype).unsqueeze(1), apart)
    return mixed.view(len(inputs), kernels.shape[1], *outputs.shape[2:])


class _MixedConv(torch.autograd.Function):
    """Mixed kernels exist while they are used, in the forward and once more in the backward pass."""

    @staticmethod
    def forward(inputs: Tensor, shares: Tensor, shape: torch.Size, geometry: Geometry, *parts: Tensor) -> Tensor:
        kernels = Packed(*parts)
        outputs = [
            _convolve(inputs[samples], _full(mixed, kernels, shape, inputs.dtype), geometry)
            for samples, mixed in _mixed(shares, kernels.dynamic, shape, inputs)
        ]
        return outputs[0] if len(outputs) == 1 else torch.cat(outputs)

    @staticmethod
    def setup_context(ctx: FunctionCtx, arguments: tuple, output: Tensor) -> None:
        inputs, shares, ctx.shape, ctx.geometry, *parts = arguments
        ctx.save_for_backward(inputs, shares, *parts)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor | None, ...]:
        inputs, shares, *parts = ctx.saved_tensors
        kernels, dynamic = Packed(*parts), parts[0]
        needs_inputs = ctx.needs_input_grad[0]
        grad_inputs, grad_shares, grad_dynamic = [], torch.empty_like(shares), torch.zeros_like(dynamic)
        static = None if kernels.static is None else _StaticGradient(kernels)
        for samples, mixed in _mixed(shares, dynamic, ctx.shape, inputs):
            full = _full(mixed, kernels, ctx.shape, inputs.dtype)
            grad_some, grad_full = _convolve_backward(grad[samples], inputs[samples], full, ctx.geometry, needs_inputs)
            grad_mixed = grad_full.flatten(1).to(dynamic.dtype)
            if static is not None:
                grad_mixed = static.take(grad_mixed, mixed)
            grad_inputs.append(grad_some)
            torch.mm(grad_mixed, dynamic.t(), out=grad_shares[samples])
            grad_dynamic.addmm_(shares[samples].t(), grad_mixed)
        joined = torch.cat(grad_inputs) if needs_inputs else None
        rest = () if static is None else static.gradients()
        return joined, grad_shares, None, None, grad_dynamic, *rest, *[None] * (5 - len(rest))


class _StaticGradient:
    """Collects what the gradients of full kernels (N,) mean for the static part and for both scales."""

    def __init__(self, kernels: Packed) -> None:
        self.kernels = kernels
        self.total = kernels.dynamic.new_zeros(kernels.dynamic.shape[1] + kernels.static.shape[0])
        self.scale_dynamic = torch.zeros_like(kernels.scale_dynamic)

    def take(self, grad: Tensor, mixed: Tensor) -> Tensor:
        """Gradients of full kernels (b, N), mixed values (b, n) -> gradients of the mixed values."""
        self.total += grad.sum(dim=0)
        grad_mixed = grad.index_select(1, self.kernels.dynamic_index)
        self.scale_dynamic += torch.dot(grad_mixed.flatten(), mixed.flatten())
        return grad_mixed.mul_(self.kernels.scale_dynamic)

    def gradients(self) -> tuple[Tensor, Tensor, Tensor]:
        """In static, scale_dynamic and scale_static."""
        grad = self.total.index_select(0, self.kernels.static_index)
        scale_static = torch.dot(grad, self.kernels.static)
        return grad.mul_(self.kernels.scale_static), self.scale_dynamic, scale_static


def _mixed(shares: Tensor, dynamic: Tensor, shape: torch.Size, inputs: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Slices of the batch with their mixed kernels (b, n), which hold until the next are asked for."""
    if inputs.device.type != "cpu":
        yield slice(None), shares @ dynamic
        return
    step = max(1, _SCRATCH_BYTES // (shape.numel() * dynamic.element_size()))
    for start in range(0, len(shares), step):
        some = shares[start : start + step]
        memory = _scratch(some.shape[0] * dynamic.shape[1], dynamic.dtype).view(some.shape[0], -1)
        yield slice(start, start + step), torch.mm(some, dynamic, out=memory)


class _Scratch(threading.local):
    """Memory that is used again and again: asking the system for new pages costs more than the mixing."""

    def __init__(self) -> None:
        self.memory: dict[torch.dtype, Tensor] = {}


_scratches = _Scratch()


def _scratch(numel: int, dtype: torch.dtype) -> Tensor:
    memory = _scratches.memory.get(dtype)
    if memory is None or memory.numel() < numel:
        with torch.inference_mode(False):  # what is made in inference mode could not be written to outside of it
            memory = _scratches.memory[dtype] = torch.empty(numel, dtype=dtype)
    return memory[:numel]


def _full(mixed: Tensor, kernels: Packed, shape: torch.Size, dtype: torch.dtype) -> Tensor:
    """Mixed values (b, n) -> kernels (b, *shape), static elements put in."""
    if kernels.static is not None:
        rows = unpacked_copies(mixed, *kernels[1:])
        mixed = torch.stack([row.to(dtype, copy=True) for row in rows])
    return mixed.view(-1, *shape).to(dtype)


def _at_once(inputs: Tensor, kernels: Tensor) -> bool:
    """Whether to convolve all samples as groups of one convolution, rather than one after the other."""
    if inputs.device.type != "cpu":
        return True
    return kernels[0].numel() <= _SMALL_KERNEL and inputs.is_contiguous()


def _convolve(inputs: Tensor, kernels: Tensor, geometry: Geometry) -> Tensor:
    """inputs (b, C, height, width), kernels (b, O, C/G, height, width) -> (b, O, ...)."""
    count = len(inputs)
    if count == 1 or not _at_once(inputs, kernels):
        pairs = zip(inputs.split(1), kernels, strict=True)
        return torch.cat([F.conv2d(sample, kernel, None, *geometry) for sample, kernel in pairs])
    together = geometry._replace(groups=count * geometry.groups)
    outputs = F.conv2d(inputs.reshape(1, -1, *inputs.shape[2:]), kernels.flatten(0, 1), None, *together)
    return outputs.view(count, -1, *outputs.shape[2:])


def _convolve_backward(
    grad: Tensor, inputs: Tensor, kernels: Tensor, geometry: Geometry, needs_inputs: bool
) -> tuple[Tensor | None, Tensor]:
    """Gradients of `_convolve` in inputs (if asked for) and kernels."""
    count = len(inputs)
    if count > 1 and not _at_once(inputs, kernels):
        triples = zip(grad.split(1), inputs.split(1), kernels.split(1), strict=True)
        parts = [_convolve_backward(*triple, geometry, needs_inputs) for triple in triples]
        return torch.cat([p[0] for p in parts]) if needs_inputs else None, torch.cat([p[1] for p in parts])
    grad_inputs, grad_kernels, _ = torch.ops.aten.convolution_backward(
        grad.reshape(1, -1, *grad.shape[2:]),
        inputs.reshape(1, -1, *inputs.shape[2:]),
        kernels.flatten(0, 1),
        None,
        *geometry[:3],
        False,
        [0, 0],
        count * geometry.groups,
        [needs_inputs, True, False],
    )
    return None if grad_inputs is None else grad_inputs.view_as(inputs), grad_kernels.view_as(kernels)
