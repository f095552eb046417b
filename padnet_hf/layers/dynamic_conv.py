"""The dynamic convolution: a kernel for every input, mixed from E kernels that may share their static part.

Axis letters: B batch, C/O channels in/out, G groups, E kernels, d dynamic output channels.
"""

import math
from contextlib import nullcontext
from functools import partial
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from padnet_hf.errors import PADNetError
from padnet_hf.layers.autocast import in_autocast_dtype, no_autocast
from padnet_hf.layers.conv_paths import paths
from padnet_hf.layers.kernel_attention import KernelAttention
from padnet_hf.layers.mixed_conv import is_mixed_after, mix_outputs, mixed_conv2d
from padnet_hf.layers.rebuild import RebuiltInBackward
from padnet_hf.layers.sample_conv import Geometry, convolve_in_graph, output_layout, scaled_conv2d, skipped
from padnet_hf.layers.wrapped import call_inside
from padnet_hf.method.kept import Kept
from padnet_hf.method.layer import MaskGroup, MultiplyAdds, PADLayer
from padnet_hf.method.packing import Packed, packed_order
from padnet_hf.method.weight import PADWeight

_POSITIONS: Kept[tuple[Tensor, Tensor]] = Kept()
"""Positions of dynamic and static channels, by mask bits."""


class PADDynamicConv2d(PADLayer):
    """Dynamic convolution (PAD-Net, section 3) in the place of an nn.Conv2d.

    W(x) = lambda_d * M * sum_k pi_k(x) Theta_k + lambda_s * (1 - M) * Theta_static, y = W(x) * x. Fully dynamic when
    built; `partition` makes part of it static, by single weights or by whole output channels. Where every kernel has a
    mask of its own, a static value is weighted like the dynamic ones, by the pi_k of the kernels that take it.

    Args:
        in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, padding_mode, device, dtype: as
            for nn.Conv2d.
        num_kernels: E, at least 1.
        reduction: of the channels inside the attention, which keeps at least one.
        attention: "softmax" (DY-Conv, the paper's), "sigmoid" (CondConv), or a name given to `register_attention`.
        temperature: of the attention, above 0.

    Raises PADNetError for a value that is not possible.
    """

    work_per = "image"

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] = 1,
        padding: int | tuple[int, int] | str = 0,
        dilation: int | tuple[int, int] = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        *,
        num_kernels: int = 4,
        reduction: int = 16,
        attention: str = "softmax",
        temperature: float = 1.0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        paths()  # refuses a file that is wrong
        for name, value in (("num_kernels", num_kernels), ("reduction", reduction), ("groups", groups)):
            if value < 1:
                raise PADNetError(f"{name} is {value}, but must be at least 1.")
        try:  # nn.Conv2d checks its arguments and writes them out in full; on meta it holds no memory
            plain = nn.Conv2d(
                in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, padding_mode, "meta"
            )
        except ValueError as error:
            raise PADNetError(
                f"PADDynamicConv2d({in_channels}, {out_channels}, {kernel_size}, stride={stride}, padding={padding!r}, "
                f"dilation={dilation}, groups={groups}, padding_mode={padding_mode!r}) is not possible: {error}; "
                "choose values that nn.Conv2d takes."
            ) from error
        self.in_channels, self.out_channels, self.padding_mode = in_channels, out_channels, padding_mode
        self.kernel_size, self.groups = plain.kernel_size, groups
        self.stride, self.padding, self.dilation = plain.stride, plain.padding, plain.dilation
        self.edges = _edges(plain)
        even = padding_mode == "zeros" and self.edges[0] == self.edges[1] and self.edges[2] == self.edges[3]
        inside = (self.edges[2], self.edges[0]) if even else (0, 0)
        self.pads_apart = not even
        self.geometry = Geometry(plain.stride, inside, plain.dilation, groups)
        self.weight = PADWeight(num_kernels, tuple(plain.weight.shape), unit_dim=0)
        self.bias = PADWeight(num_kernels, (out_channels,), unit_dim=0) if bias else None
        self.attention = KernelAttention(in_channels, num_kernels, reduction, attention, temperature)
        self.reset_parameters()
        self.to(device=device, dtype=dtype)

    @classmethod
    @torch.no_grad()
    def from_conv2d(cls, plain: nn.Conv2d, **kernels: Any) -> Self:
        """A dynamic convolution with the outputs of `plain`: every kernel is a copy of its weight.

        Args:
            kernels: num_kernels, reduction, attention, temperature.
        """
        layer = cls(
            plain.in_channels,
            plain.out_channels,
            plain.kernel_size,
            plain.stride,
            plain.padding,
            plain.dilation,
            plain.groups,
            plain.bias is not None,
            plain.padding_mode,
            device=plain.weight.device,
            dtype=plain.weight.dtype,
            **kernels,
        )
        layer.weight.dynamic.copy_(plain.weight.expand_as(layer.weight.dynamic))
        if plain.bias is not None:
            layer.bias.dynamic.copy_(plain.bias.expand_as(layer.bias.dynamic))
        return layer.train(plain.training)

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Every kernel at random like nn.Conv2d's, each its own."""
        for number in range(self.weight.num_copies):
            plain = nn.Conv2d(
                self.in_channels, self.out_channels, self.kernel_size, groups=self.groups, bias=self.bias is not None
            )
            self.weight.dynamic[number] = plain.weight
            if self.bias is not None:
                self.bias.dynamic[number] = plain.bias

    def forward(self, inputs: Tensor) -> Tensor:
        """inputs (B, C, height, width) or (C, height, width) -> the same with O channels."""
        if inputs.dim() not in (3, 4) or inputs.shape[-3] != self.in_channels:
            raise PADNetError(
                f"the input has the shape {tuple(inputs.shape)}, but must be (batch, {self.in_channels}, height, width)"
                f" or without the batch: this layer has {self.in_channels} input channels."
            )
        if inputs.dim() == 3:
            return self(inputs.unsqueeze(0)).squeeze(0)
        inputs = in_autocast_dtype(inputs)
        with no_autocast(inputs.device):
            weights = (self.weight,) if self.bias is None else (self.weight, self.bias)
            return call_inside(weights, partial(self._forward, inputs))

    def _forward(self, inputs: Tensor) -> Tensor:
        weight, bias, dtype = self.weight, self.bias, inputs.dtype
        is_static = weight.is_static and (bias is None or bias.is_static)
        shares = None if is_static else self.attention(inputs.to(self.attention.score.weight.dtype))
        if self.usage is not None and shares is not None:
            self.usage += shares.detach().sum(dim=0)
        if self.pads_apart:
            mode = "constant" if self.padding_mode == "zeros" else self.padding_mode
            inputs = F.pad(inputs, self.edges, mode)
        if weight.is_static:
            outputs = F.conv2d(inputs, weight.static.to(dtype), None, *self.geometry)
        elif torch.compiler.is_compiling():
            outputs = self._in_graph(inputs, shares)
        elif weight.granularity == "unit" and weight.phi is not None:
            outputs = self._channels(inputs, shares)
        elif weight.has_own_masks:
            outputs = self._built(inputs, shares)
        else:
            outputs = mixed_conv2d(inputs, shares, weight.packed(), weight.shape, self.geometry)
        if bias is None:
            return outputs
        shift = bias.static if bias.is_static else bias.mix(shares)
        return outputs.add_(shift.to(dtype).view(-1, self.out_channels, 1, 1))

    def _built(self, inputs: Tensor, shares: Tensor) -> Tensor:
        """Kernels with masks of their own are built before they are mixed, once more in the backward pass."""
        kernels = self.weight.build()
        trains = torch.is_grad_enabled()
        with RebuiltInBackward([(kernels, self.weight)]) if trains else nullcontext():
            return mixed_conv2d(inputs, shares, Packed(kernels.flatten(1)), self.weight.shape, self.geometry)

    def _channels(self, inputs: Tensor, shares: Tensor) -> Tensor:
        """The unit partition. The static channels are convolved for the whole batch at once, or with the dynamic ones.

        Apart, they are faster, but the channels have to be put in order, which takes longer than it saves where the
        output is large and the kernel small.
        """
        weight, dynamic = self.weight, self.weight.dynamic
        scales, positions = self._scales(inputs), self._positions()
        inputs, geometry = skipped(inputs, weight.shape, self.geometry)
        if not self._is_apart(inputs, geometry):
            packed = Packed(dynamic.flatten(1), weight.static.flatten(), *scales, *positions)
            return mixed_conv2d(inputs, shares, packed, weight.shape, geometry, width=weight.shape[1:].numel())
        mixed = mixed_conv2d(
            *(inputs, shares * scales[0], Packed(dynamic.flatten(1)), dynamic.shape[1:], geometry),
            scratch_for="dynamic channels",
        )
        static = scaled_conv2d(inputs, weight.static, scales[1], geometry, scratch_for="static channels")
        interleave = _Interleave.apply if torch.is_grad_enabled() else _Interleave.forward  # apply takes time
        return interleave(mixed, static, *positions)

    def _scales(self, inputs: Tensor) -> tuple[Tensor, Tensor] | tuple[float, float]:
        """lambda_d and lambda_s; on a CPU with gradients off as numbers, which take fewer of torch's operators."""
        if torch.is_grad_enabled() or inputs.device.type != "cpu":
            return self.weight.scales()
        scale_dynamic = 2 * torch.sigmoid(self.weight.phi).item()
        return scale_dynamic, 2 - scale_dynamic

    def _positions(self) -> tuple[Tensor, Tensor]:
        """Of dynamic and static channels, in 64 bits, which writing to them takes."""
        weight = self.weight
        return _POSITIONS.get((weight.mask_bits,), lambda: tuple(p.long() for p in weight.positions()))

    def _is_apart(self, inputs: Tensor, geometry: Geometry) -> bool:
        """Whether the static channels are convolved by themselves."""
        shape = self.weight.shape
        positions = math.prod(geometry.output_size(inputs.shape, shape))
        if shape[-2:] == (1, 1) and positions >= paths().narrow:  # a matrix product for each sample either way
            positions *= max(inputs.shape[0], 1)
        return self.groups == 1 and shape[1:].numel() >= paths().apart * positions

    def _in_graph(self, inputs: Tensor, shares: Tensor) -> Tensor:
        """The same for compilers and exporters: the number of images may change, and nothing is written in place."""
        weight = self.weight
        if weight.granularity != "unit" or weight.phi is None or self.groups > 1:
            if weight.is_fully_dynamic and is_mixed_after(inputs, weight.num_copies, weight.shape, self.geometry):
                return mix_outputs(inputs, shares, weight.dynamic, self.geometry)
            return convolve_in_graph(inputs, weight.mix(shares).to(inputs.dtype), self.geometry)
        scale_dynamic, scale_static = weight.scales()
        dynamic, shares = weight.dynamic, shares * scale_dynamic
        if is_mixed_after(inputs, weight.num_copies, weight.shape, self.geometry):
            mixed = mix_outputs(inputs, shares, dynamic, self.geometry)
        else:
            kernels = torch.tensordot(shares.to(dynamic.dtype), dynamic, 1).to(inputs.dtype)
            mixed = convolve_in_graph(inputs, kernels, self.geometry)
        static = F.conv2d(inputs, (weight.static * scale_static).to(inputs.dtype), None, *self.geometry)
        return torch.cat([mixed, static], dim=1).index_select(1, packed_order(weight.mask(), weight.num_dynamic))

    def unit_group(self) -> MaskGroup:
        return MaskGroup((self.weight,) if self.bias is None else (self.weight, self.bias))

    def mixes_to_one(self) -> bool:
        return self.attention.sums_to_one()

    def multiply_adds(self, inputs: Tensor) -> MultiplyAdds:
        """Per image: the convolution, and the mixing of kernels."""
        height, width = self._output_size(inputs)
        kernel, copies = self.weight.shape.numel(), self.weight.num_copies
        dense = height * width * kernel
        mixed = kernel if self.weight.has_own_masks else self.weight.num_dynamic_elements
        return MultiplyAdds(dense, dense + copies * kernel, dense + copies * mixed)

    def outline(self, inputs: Tensor) -> Tensor:
        return inputs.new_empty(*inputs.shape[:-3], self.out_channels, *self._output_size(inputs))

    def _output_size(self, inputs: Tensor) -> tuple[int, int]:
        """Height and width of the output."""
        left, right, top, bottom = self.edges if self.pads_apart else (0, 0, 0, 0)
        padded = torch.Size((inputs.shape[-2] + top + bottom, inputs.shape[-1] + left + right))
        return self.geometry.output_size(padded, self.weight.shape)

    def extra_repr(self) -> str:
        geometry = self.geometry
        text = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={geometry.stride}"
        return f"{text}, padding={self.edges}, dilation={geometry.dilation}, groups={self.groups}"


def _edges(plain: nn.Conv2d) -> tuple[int, int, int, int]:
    """Rows and columns of padding as F.pad takes them: left, right, top, bottom."""
    edges: list[int] = []
    for dim in (1, 0):
        if plain.padding == "valid":
            edges += (0, 0)
        elif plain.padding == "same":
            total = plain.dilation[dim] * (plain.kernel_size[dim] - 1)
            edges += (total // 2, total - total // 2)
        else:
            edges += (plain.padding[dim], plain.padding[dim])
    return tuple(edges)


class _Interleave(torch.autograd.Function):
    """Dynamic (B, d, ...) and static (B, O-d, ...) channels -> (B, O, ...) in the order of their positions."""

    @staticmethod
    def forward(dynamic: Tensor, static: Tensor, dynamic_index: Tensor, static_index: Tensor) -> Tensor:
        size = (len(static), dynamic.shape[1] + static.shape[1], *static.shape[2:])
        layout = output_layout(static)
        outputs = torch.empty(size, dtype=static.dtype, device=static.device, memory_format=layout)
        outputs.index_copy_(1, dynamic_index, dynamic)
        return outputs.index_copy_(1, static_index, static)

    @staticmethod
    def setup_context(ctx: Any, arguments: tuple[Tensor, ...], output: Tensor) -> None:
        ctx.save_for_backward(*arguments[2:])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        return *(grad.index_select(1, index) for index in ctx.saved_tensors), None, None
