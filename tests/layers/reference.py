"""Experts as the paper's formula says them: one weight after the other, one token after the other."""

import math

import torch
from torch import Tensor

from padnet_hf.layers.experts import PADExperts
from padnet_hf.method.conversion import partitioned_state
from padnet_hf.method.layer import pad_weights
from padnet_hf.method.weight import PADWeight

FORMS = ("fully dynamic", "element", "unit", "static by element", "static by unit", "mixed", "per copy", "left out")


INNER = 24

KINDS = {
    "plain": {},
    "plain, no bias": {"bias": False},
    "gated": {"gated": True},
    "gated, no bias": {"gated": True, "bias": False},
}
"""Options of experts by what kind of network they are."""


def make_experts(
    form: str,
    implementation: str = "eager",
    dtype: torch.dtype = torch.float64,
    activation: str = "gelu",
    **options: object,
) -> PADExperts:
    """Experts with random values, different copies, and scale factors other than one.

    "mixed" is an element partition that left one weight all static, one all dynamic (if there are biases), and the
    others in part. "per copy" has a mask for every copy, by element, and "left out" by unit.
    """
    experts = PADExperts(4, 8, INNER, activation, implementation=implementation, **options).to(dtype)
    generator = torch.Generator().manual_seed(0)
    granularity = "unit" if "unit" in form or form == "left out" else "element"
    share = {"fully dynamic": 1.0, "element": 0.4, "unit": 0.4, "mixed": 0.4}.get(form, 0.0)
    units = torch.randperm(INNER, generator=generator) < 8
    for name, weight in pad_weights(experts).items():
        weight.become({"dynamic": torch.randn(weight.dynamic.shape, generator=generator).to(dtype) / 2})
        mask = torch.rand(weight.num_candidates(granularity), generator=generator) < share
        if form == "unit":
            mask = units if weight.layout.unit_dim is not None else torch.tensor([True])
        if form == "per copy":
            drawn = torch.rand(4, weight.shape.numel(), generator=generator)
            mask = drawn.argsort().argsort() < 0.5 * drawn.shape[1]
        if form == "left out":
            mask = torch.rand(4, INNER, generator=generator).argsort().argsort() < 8
            mask = mask if weight.layout.unit_dim is not None else torch.ones(4, 1, dtype=torch.bool)
        if form == "mixed" and not name.startswith("down"):
            mask = torch.full_like(mask, name.endswith("bias"))
        weight.become(partitioned_state(weight, mask, granularity), granularity)
        if weight.phi is not None:
            torch.nn.init.constant_(weight.phi, torch.randn((), generator=generator).item())
    return experts


def make_routing(
    num_tokens: int, dtype: torch.dtype = torch.float64, hidden_size: int = 8, num_experts: int = 4, top_k: int = 2
) -> tuple[Tensor, Tensor, Tensor]:
    """hidden (T, H) and gate logits (T, K), both leaves, and index (T, K) of different experts."""
    generator = torch.Generator().manual_seed(1)
    hidden = torch.randn(num_tokens, hidden_size, generator=generator).to(dtype).requires_grad_()
    logits = torch.randn(num_tokens, top_k, generator=generator).to(dtype).requires_grad_()
    index = torch.rand(num_tokens, num_experts, generator=generator).topk(top_k).indices
    return hidden, logits, index


def dense_by_formula(weight: PADWeight) -> Tensor:
    """lambda_d * M * Theta_dynamic + lambda_s * (1 - M) * Theta_static, (E, *shape); smaller with units left out."""
    if weight.static is None:
        return weight.dynamic
    if weight.is_static:
        return torch.stack([weight.static] * weight.num_copies)
    mask = weight.mask()
    if weight.granularity == "unit":
        mask = torch.cat([mask] * weight.layout.unit_blocks)
        mask = mask.view([-1 if dim == weight.layout.unit_dim else 1 for dim in range(len(weight.shape))])
        mask = mask.expand(weight.shape).flatten()
    scale = 2 * torch.sigmoid(weight.phi)
    copies = []
    for number, values in enumerate(weight.dynamic):
        copy = torch.zeros(weight.shape.numel(), dtype=values.dtype)
        own = mask[number] if weight.has_own_masks else mask
        copy[own] = scale * values.flatten()
        copy[~own] = (2 - scale) * (weight.static[~own] if weight.has_own_masks else weight.static.flatten())
        copies.append(copy.view(weight.shape))
    return torch.stack(copies)


def reference_experts(experts: PADExperts, hidden: Tensor, index: Tensor, gates: Tensor) -> Tensor:
    """y[t] = sum over k of gates[t, k] * FFN of expert index[t, k] of hidden[t]."""
    copies = {name: dense_by_formula(weight) for name, weight in pad_weights(experts).items()}
    first = "gate_up_proj" if experts.gated else "up_proj"

    def linear(name: str, expert: int, values: Tensor) -> Tensor:
        result = copies[name][expert] @ values
        return result + copies[f"{name}_bias"][expert] if f"{name}_bias" in copies else result

    outputs = []
    for token in range(len(hidden)):
        output = torch.zeros_like(hidden[token])
        for gate, expert in zip(gates[token], index[token].tolist(), strict=True):
            inner = linear(first, expert, hidden[token])
            activated, *others = inner.chunk(2) if experts.gated else (inner,)
            inner = math.prod([experts.act_fn(activated), *others])
            output = output + gate * linear("down_proj", expert, inner)
        outputs.append(output)
    return torch.stack(outputs)
