"""Convolution of every sample with a kernel of its own, given the kernels.

Axis letters: b samples, C/O channels in/out, G groups, P output positions.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from padnet_hf.layers.conv_paths import paths
from padnet_hf.method.scratch import scratch


class Geometry(NamedTuple):
    """How a convolution walks over its input; padding is with zeros and the same on both sides."""

    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    groups: int

    def output_size(self, inputs: torch.Size, kernel: torch.Size) -> tuple[int, int]:
        """Height and width for inputs (..., height, width) and a kernel (..., height, width)."""
        sides = zip(inputs[-2:], kernel[-2:], *self[:3], strict=True)
        height, width = ((size + 2 * pad - step * (k - 1) - 1) // stride + 1 for size, k, stride, pad, step in sides)
        return height, width


def output_layout(inputs: Tensor) -> torch.memory_format:
    """The memory format that a convolution of these inputs gives."""
    is_last = inputs.is_contiguous(memory_format=torch.channels_last) and not inputs.is_contiguous()
    return torch.channels_last if is_last else torch.contiguous_format


def at_once(inputs: Tensor, shape: torch.Size) -> bool:
    """Whether to convolve all samples as groups of one convolution, rather than one after the other."""
    return inputs.device.type != "cpu" or (shape.numel() <= paths().small_kernel and inputs.is_contiguous())


def skipped(inputs: Tensor, shape: torch.Size, geometry: Geometry) -> tuple[Tensor, Geometry]:
    """A convolution 1x1 with strides as one without: positions left out once, the rest is a matrix product."""
    rows, columns = geometry.stride
    is_strided = (rows, columns) != (1, 1) and shape[-2:] == (1, 1) and geometry.padding == (0, 0)
    if not is_strided or not inputs.is_contiguous():
        return inputs, geometry
    return inputs[:, :, ::rows, ::columns].contiguous(), geometry._replace(stride=(1, 1))


def convolve(inputs: Tensor, kernels: Tensor, geometry: Geometry, out: Tensor) -> None:
    """inputs (b, C, height, width), kernels (b, O, C/G, height, width) -> out (b, O, ...)."""
    count = len(kernels)
    if is_matrix(inputs, kernels.shape, geometry):
        torch.bmm(kernels.flatten(2), inputs.flatten(2), out=out.flatten(2))
    elif at_once(inputs, kernels.shape[1:]):
        together = geometry._replace(groups=count * geometry.groups)
        outputs = F.conv2d(inputs.reshape(1, -1, *inputs.shape[2:]), kernels.flatten(0, 1), None, *together)
        out.copy_(outputs.view_as(out))
    else:
        for number in range(count):
            out[number] = F.conv2d(inputs[number : number + 1], kernels[number], None, *geometry)[0]


def scaled_conv2d(
    inputs: Tensor, kernel: Tensor, scale: Tensor | float, geometry: Geometry, scratch_for: str
) -> Tensor:
    """All samples with one kernel (O, C/G, height, width) times `scale`.

    With gradients off the smaller one is scaled, kernel or outputs, and on a CPU what is given may hold only until
    something is computed for `scratch_for` again.
    """
    if torch.is_grad_enabled():
        return F.conv2d(inputs, (kernel * scale).to(inputs.dtype), None, *geometry)
    batch, size = inputs.shape[0], geometry.output_size(inputs.shape, kernel.shape)
    count = batch * kernel.shape[0] * size[0] * size[1]
    is_after = count < kernel.numel()
    kernel = (kernel if is_after else kernel * scale).to(inputs.dtype)
    if inputs.device.type == "cpu" and is_matrix(inputs, kernel.shape, geometry):
        memory = scratch(scratch_for, count, inputs.dtype)
        if batch > 1 and size[0] * size[1] < paths().narrow:
            outputs = _one_product(inputs, kernel, memory).view(-1, batch, *size).transpose(0, 1)
        else:
            outputs = memory.view(batch, -1, *size)
            convolve(inputs, kernel.expand(batch, *kernel.shape), geometry, out=outputs)
    else:
        outputs = F.conv2d(inputs, kernel, None, *geometry)
    return outputs.mul_(scale) if is_after else outputs


def _one_product(inputs: Tensor, kernel: Tensor, memory: Tensor) -> Tensor:
    """inputs (b, C, height, width), kernel (O, C, 1, 1) -> (O, b * P): columns of all samples side by side."""
    columns = scratch("columns", inputs.numel(), inputs.dtype).view(inputs.shape[1], inputs.shape[0], -1)
    columns.copy_(inputs.flatten(2).transpose(0, 1))
    return torch.mm(kernel.flatten(1), columns.flatten(1), out=memory.view(kernel.shape[0], -1))


def convolve_in_graph(inputs: Tensor, kernels: Tensor, geometry: Geometry) -> Tensor:
    """inputs (B, C, height, width), kernels (B, O, C/G, height, width) -> (B, O, ...), for compilers and exporters.

    A matrix product over shifted inputs: the graph is the same for any B, and in ONNX, where the number of a
    convolution's groups is a constant, there is no other way without a loop.
    """
    size = geometry.output_size(inputs.shape, kernels.shape)
    rows, columns = (
        [slice(i * gap, i * gap + step * (count - 1) + 1, step) for i in range(reach)]
        for count, reach, step, gap in zip(size, kernels.shape[-2:], geometry.stride, geometry.dilation, strict=True)
    )
    height, width = geometry.padding
    padded = F.pad(inputs, (width, width, height, height)) if height or width else inputs
    shifted = torch.stack([padded[:, :, row, column] for row in rows for column in columns], dim=2)
    groups, outputs = geometry.groups, kernels.shape[1]
    matrices = kernels.reshape(-1, groups, outputs // groups, kernels[0, 0].numel())
    return (matrices @ shifted.reshape(inputs.shape[0], groups, matrices.shape[-1], -1)).reshape(-1, outputs, *size)


def convolve_backward(
    grad: Tensor, inputs: Tensor, kernels: Tensor, geometry: Geometry, out: Tensor | None, add: bool = False
) -> Tensor:
    """The gradient of `convolve` in the kernels, from that in its output; that in the inputs goes to `out`, if any.

    add: to what `out` holds, rather than in its place.
    """
    count = len(kernels)
    if is_matrix(inputs, kernels.shape, geometry):
        grad = grad.flatten(2)
        if out is not None:
            columns = out.flatten(2)
            torch.baddbmm(columns, kernels.flatten(2).transpose(1, 2), grad, beta=int(add), out=columns)
        return torch.bmm(grad, inputs.flatten(2).transpose(1, 2)).view_as(kernels)
    if count > 1 and not at_once(inputs, kernels.shape[1:]):
        grad_kernels = torch.empty_like(kernels)
        for number in range(count):
            some = slice(number, number + 1)
            grad_inputs = None if out is None else out[some]
            grad_kernels[some] = convolve_backward(grad[some], inputs[some], kernels[some], geometry, grad_inputs, add)
        return grad_kernels
    grad_inputs, grad_kernels, _ = torch.ops.aten.convolution_backward(
        grad.reshape(1, -1, *grad.shape[2:]),
        inputs.reshape(1, -1, *inputs.shape[2:]),
        kernels.flatten(0, 1),
        None,
        *geometry[:3],
        False,
        [0, 0],
        count * geometry.groups,
        [out is not None, True, False],
    )
    if out is not None:
        grad_inputs = grad_inputs.view_as(inputs)
        out.add_(grad_inputs) if add else out.copy_(grad_inputs)
    return grad_kernels.view_as(kernels)


def is_matrix(inputs: Tensor, shape: torch.Size, geometry: Geometry) -> bool:
    """Whether a convolution with kernels of shape (..., height, width) is a matrix product over channels."""
    is_plain = geometry[:2] == ((1, 1), (0, 0)) and geometry.groups == 1 and inputs.is_contiguous()
    return is_plain and shape[-2:] == (1, 1)
