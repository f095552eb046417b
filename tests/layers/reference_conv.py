"""Dynamic convolution as the paper's formula says it: one sample after the other, one kernel element after the other.

Relies on one fact alone about what is stored: packed values are in row-major order of the positions they belong to.
"""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from padnet_hf.layers import conv_paths
from padnet_hf.layers.conv_paths import ConvPaths
from padnet_hf.layers.dynamic_conv import PADDynamicConv2d
from padnet_hf.method.conversion import partitioned_state
from padnet_hf.method.layer import pad_weights
from padnet_hf.method.packing import pack_mask
from padnet_hf.method.weight import PADWeight

FORMS = (
    "fully dynamic", "element", "unit", "per copy",
    "static", "dynamic weight, static bias", "static weight, dynamic bias",
)  # fmt: skip

SHAPES: dict[str, dict[str, Any]] = {
    "1x1": {"kernel_size": 1},
    "1x1, stride": {"kernel_size": 1, "stride": (2, 3)},
    "1x1, padding": {"kernel_size": 1, "padding": (0, 1)},
    "3x3": {"kernel_size": 3, "padding": 1},
    "no bias": {"kernel_size": 3, "bias": False},
    "rectangular": {"kernel_size": (1, 3), "stride": (2, 1), "padding": (1, 2), "dilation": (1, 2)},
    "stride": {"kernel_size": 3, "stride": 2, "padding": 1},
    "same, even kernel": {"kernel_size": (2, 3), "padding": "same"},
    "same, dilated": {"kernel_size": 3, "padding": "same", "dilation": 2},
    "valid": {"kernel_size": (3, 2), "padding": "valid", "dilation": (1, 3)},
    "reflect": {"kernel_size": 3, "padding": (2, 1), "padding_mode": "reflect", "stride": (1, 2)},
    "circular": {"kernel_size": (2, 3), "padding": "same", "padding_mode": "circular"},
    "groups": {"kernel_size": 3, "padding": 1, "groups": 2},
    "groups of 1x1": {"kernel_size": 1, "groups": 2, "stride": 2},
    "depthwise": {"kernel_size": 3, "padding": 1, "groups": 4},
    "depthwise same": {"kernel_size": 2, "padding": "same", "groups": 4, "bias": False},
}

_THREE_CHANNELS = {"output_mixing": 0, "apart": 0, "block_bytes": 0, "lanes": 3}

WAYS: dict[str, dict[str, float]] = {
    "as chosen": {},
    "outputs mixed": {"output_mixing": 10**9, "apart": 0},
    "outputs mixed, static channels too": {"output_mixing": 10**9, "apart": 10**9},
    "all samples at once": {"output_mixing": 0, "small_kernel": 10**9, "apart": 10**9},
    "all samples at once, static channels apart": {"output_mixing": 0, "small_kernel": 10**9, "apart": 0},
    "one sample after the other": {"output_mixing": 0, "small_kernel": 0, "apart": 10**9},
    "one sample after the other, static channels apart": {"output_mixing": 0, "small_kernel": 0, "apart": 0},
    "two samples at once": {"output_mixing": 0, "small_kernel": 10**9, "apart": 10**9, "scratch_bytes": 2},
    "two samples mixed at once": {"output_mixing": 0, "small_kernel": 0, "apart": 10**9, "scratch_bytes": 2},
    "one sample mixed at once": {"output_mixing": 0, "apart": 0, "scratch_bytes": 0},
    "all samples at once, three channels": {"small_kernel": 10**9, **_THREE_CHANNELS},
    "one sample after the other, three channels": {"small_kernel": 0, **_THREE_CHANNELS},
    "two samples mixed at once, three channels": {"small_kernel": 0, "scratch_bytes": 3 / 4, **_THREE_CHANNELS},
    "for a compiler, kernels mixed": {"output_mixing": 0},
    "for a compiler, outputs mixed": {"output_mixing": 10**9},
}
"""Ways of computing the same, by thresholds that lead there; scratch here in kernels, not bytes."""


def ways_for(form: str) -> list[str]:
    """The ways in which a layer of this form can differ from the others."""
    if form.startswith("static"):
        return ["as chosen"]
    if form == "per copy":  # built, they are as fully dynamic ones
        return ["as chosen", "outputs mixed", "one sample after the other", "for a compiler, kernels mixed"]
    unlike = {"unit": "-", "element": "outputs mixed"}.get(form, "static channels")
    return [way for way in WAYS if not way.startswith(unlike) and (form == "unit" or "static channels" not in way)]


FORMS_AND_WAYS = [(form, way) for form in FORMS for way in ways_for(form)]


def force(way: str, patch: pytest.MonkeyPatch, kernel_bytes: int) -> None:
    """Set the thresholds that lead to `way` for kernels of this size."""
    if way.startswith("for a compiler"):
        patch.setattr(torch.compiler, "is_compiling", lambda: True)
    table = WAYS[way]
    if "scratch_bytes" in table:
        table = {**table, "scratch_bytes": int(table["scratch_bytes"] * kernel_bytes)}
    patch.setattr(conv_paths, "_in_use", ConvPaths(**table))


def make_conv(
    form: str, in_channels: int = 4, out_channels: int = 8, dtype: torch.dtype = torch.float64, **fields: Any
) -> PADDynamicConv2d:
    """A dynamic convolution with random values, different kernels, and scale factors other than one."""
    generator = torch.Generator().manual_seed(0)
    conv = PADDynamicConv2d(in_channels, out_channels, **({"num_kernels": 3, "reduction": 2} | fields)).to(dtype)
    with torch.no_grad():
        for parameter in conv.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) / 2)
    granularity = "unit" if form == "unit" else "element"
    units = torch.randperm(out_channels, generator=generator) < max(out_channels // 3, 1)
    for name, weight in pad_weights(conv).items():
        share = {"fully dynamic": 1.0, "element": 0.4, "static": 0.0}.get(form, float(f"dynamic {name}" in form))
        mask = torch.rand(weight.num_candidates(granularity), generator=generator) < share
        if form == "per copy":
            drawn = torch.rand(weight.num_copies, weight.shape.numel(), generator=generator)
            mask = drawn.argsort().argsort() < max(drawn.shape[1] // 2, 1)
        weight.become(partitioned_state(weight, units if form == "unit" else mask, granularity), granularity)
        if weight.phi is not None:
            nn.init.constant_(weight.phi, torch.randn((), generator=generator).item())
    return conv


def make_inputs(batch: int = 3, channels: int = 4, size: tuple[int, int] = (6, 7)) -> Tensor:
    """(B, C, height, width), of which every sample has another mean, so that attention differs."""
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(batch, channels, *size, generator=generator, dtype=torch.float64)
    return inputs + torch.randn(batch, channels, 1, 1, generator=generator, dtype=torch.float64)


def element_mask(weight: PADWeight) -> list[bool]:
    """Which of the N elements of a copy are dynamic."""
    mask = weight.mask()
    if weight.granularity == "unit":
        mask = mask.repeat_interleave(weight.shape.numel() // len(mask))
    return mask.tolist()


def mixed_by_formula(weight: PADWeight, shares: Tensor) -> list[Tensor]:
    """lambda_d * M * sum_k pi_k Theta_k + lambda_s * (1 - M) * Theta_static for each row of shares (B, E).

    With masks of their own sum_k pi_k (lambda_d * M_k * Theta_k + lambda_s * (1 - M_k) * Theta_static).
    """
    one = shares.new_ones(())
    scale_dynamic = one if weight.phi is None else 2 / (1 + torch.exp(-weight.phi))
    scale_static = one if weight.phi is None else 2 - scale_dynamic
    if weight.has_own_masks:
        whole = []
        for values, mask in zip(weight.dynamic, weight.mask().tolist(), strict=True):
            pairs, own = zip(mask, weight.static, strict=True), iter(values)
            whole.append(torch.stack([scale_dynamic * next(own) if m else scale_static * one for m, one in pairs]))
        return [sum(pi * copy.view(weight.shape) for pi, copy in zip(row, whole, strict=True)) for row in shares]
    kernels = []
    for share in shares:
        dynamic = [] if weight.dynamic is None else weight.dynamic.flatten(1).unbind(1)
        dynamic = iter([sum(pi * theta for pi, theta in zip(share, values, strict=True)) for values in dynamic])
        static = iter([] if weight.static is None else weight.static.flatten())
        mask = element_mask(weight)
        elements = [scale_dynamic * next(dynamic) if m else scale_static * next(static) for m in mask]
        kernels.append(torch.stack(elements).view(weight.shape))
    return kernels


def reference_conv(conv: PADDynamicConv2d, inputs: Tensor, **fields: Any) -> Tensor:
    """y[b] = W(x[b]) * x[b] + b(x[b]); `fields` are those that `conv` was made with."""
    fields = {name: value for name, value in fields.items() if name in nn.Conv2d.__init__.__annotations__}
    plain = nn.Conv2d(conv.in_channels, conv.out_channels, **fields)
    shares = conv.attention(inputs)
    weights = {name: mixed_by_formula(weight, shares) for name, weight in pad_weights(conv).items()}
    weights = {name: values for name, values in weights.items() if not name.startswith("attention")}
    samples = [dict(zip(weights, values, strict=True)) for values in zip(*weights.values(), strict=True)]
    return torch.stack([functional_call(plain, w, x) for w, x in zip(samples, inputs, strict=True)])


def run(conv: PADDynamicConv2d, inputs: Tensor, forward: Callable[[Tensor], Tensor] | None = None) -> dict[str, Tensor]:
    """Output and every gradient of a scalar of it, zero where there is none."""
    inputs = inputs.detach().requires_grad_()  # its memory format stays
    output = (forward or conv)(inputs)
    probe = torch.randn(output.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64).to(output)
    (output * probe).sum().backward()
    gradients = {
        name: torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        for name, parameter in conv.named_parameters()
    }
    return {"output": output.detach(), "inputs": inputs.grad} | gradients


def assert_same(actual: dict[str, Tensor], expected: dict[str, Tensor], tolerance: float = 1e-10) -> None:
    """Equal up to `tolerance` of each tensor's largest value."""
    assert actual.keys() == expected.keys()
    for name, tensor in expected.items():
        assert actual[name].shape == tensor.shape, name
        error = (actual[name].double() - tensor.double()).abs().max()
        assert error <= tolerance * max(1.0, tensor.abs().max().item()), f"{name} is off by {error}"


def as_element_partition(conv: PADDynamicConv2d) -> None:
    """Make a unit-partitioned layer the element-partitioned one with the same values, its mask expanded."""
    for weight in pad_weights(conv).values():
        mask = torch.tensor(element_mask(weight))
        state = {"dynamic": weight.dynamic.detach().flatten(1), "static": weight.static.detach().flatten()}
        weight.become(state | {"phi": weight.phi.detach().clone(), "mask_bits": pack_mask(mask)}, "element")
