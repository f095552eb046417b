"""Feed-forward layers with random weights, partitioned without IMP: times and memory do not depend on the values.

Axis letters: T tokens, H hidden, I inner, E experts, K chosen experts.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.integrations.moe import grouped_mm_experts_forward

from padnet_hf.layers.experts import BY_DEVICE, BuiltExperts, PADExperts
from padnet_hf.layers.feed_forward import PADFeedForward
from padnet_hf.method.layer import pad_weights
from padnet_hf.method.layout import Granularity
from padnet_hf.method.packing import pack_mask
from padnet_hf.method.selection import UNIT_BLOCK


@dataclass
class LayerSizes:
    """Sizes of a feed-forward layer, and how its experts are computed."""

    hidden_size: int
    inner_size: int
    num_experts: int = 8
    top_k: int = 2
    implementation: str = BY_DEVICE

    def layer(self) -> PADFeedForward:
        """Experts with their router."""
        return PADFeedForward(**vars(self), activation="gelu", router_noise=True)

    def experts(self) -> PADExperts:
        """The experts of such a layer alone."""
        return self.layer().experts


def randomize(module: nn.Module) -> None:
    """Fill every parameter with small random values, scale factors with 0."""
    for parameter in module.parameters():
        nn.init.zeros_(parameter) if parameter.numel() == 1 else nn.init.normal_(parameter, std=0.02)


def partition_at_random(experts: PADExperts, granularity: Granularity, ratio: float) -> None:
    """Make `ratio` of each weight's elements dynamic, or of its units; an output bias without units stays dynamic.

    Values are new: the compact tensors are made at once, never the fully dynamic ones, so that a process which only
    holds the partitioned layer needs no more memory than that.
    """
    for weight in pad_weights(experts).values():
        weight.make_room(dynamic_count(weight.num_candidates(granularity), granularity, ratio), granularity)
    scatter_masks(experts)
    randomize(experts)


def dynamic_count(total: int, granularity: Granularity, ratio: float) -> int:
    """How many of so many candidates `ratio` is, of units in whole blocks as `partition` chooses them; one stays."""
    if total == 1:
        return 1
    block = 1 if granularity == "element" else UNIT_BLOCK
    return round(ratio * total / block) * block


def scatter_masks(module: nn.Module) -> None:
    """Put the dynamic elements of every element-partitioned weight at random positions."""
    for weight in pad_weights(module).values():
        if weight.granularity == "element" and weight.mask_bits is not None:
            mask = torch.zeros(weight.shape.numel(), dtype=torch.bool, device=weight.mask_bits.device)
            mask[torch.randperm(mask.numel(), device=mask.device)[: weight.num_dynamic]] = True
            weight.mask_bits.copy_(pack_mask(mask))


def transformers_eager(experts: BuiltExperts, hidden: Tensor, index: Tensor, weights: Tensor) -> Tensor:
    """transformers' loop over experts, as in its integrations/moe.py and its models, with biases and without a gate."""
    final = torch.zeros_like(hidden)
    with torch.no_grad():
        expert_mask = F.one_hot(index, num_classes=experts.num_experts).permute(2, 1, 0)
        expert_hit = torch.greater(expert_mask.sum(dim=(-1, -2)), 0).nonzero()
    for (expert,) in expert_hit:
        slot, token = torch.where(expert_mask[expert])
        current = F.linear(hidden[token], experts.up_proj[expert], experts.up_proj_bias[expert])
        current = F.linear(experts.act_fn(current), experts.down_proj[expert], experts.down_proj_bias[expert])
        final.index_add_(0, token, (current * weights[token, slot, None]).to(final.dtype))
    return final


TRANSFORMERS: dict[str, Callable[..., Tensor]] = {
    "eager": transformers_eager,
    "grouped_mm": grouped_mm_experts_forward,
}
"""transformers' own experts code by the name of the implementation."""


class TransformersExperts(PADExperts):
    """Fully dynamic experts, run by transformers' own code alone: the baseline."""

    def forward(self, hidden: Tensor, index: Tensor, weights: Tensor) -> Tensor:
        """As PADExperts.forward."""
        built = [weight.dynamic for weight in pad_weights(self).values()]
        run = TRANSFORMERS[self.implementation]
        return run(BuiltExperts(*built, self.act_fn, False, self.num_experts), hidden, index, weights)


def use_transformers_code(model: nn.Module) -> nn.Module:
    """Run all fully dynamic experts in a model by transformers' own code, with the parameters that they have."""
    for module in model.modules():
        if isinstance(module, PADExperts):
            module.__class__ = TransformersExperts  # the same but for its forward
    return model


class Dense(nn.Sequential):
    """The feed-forward network that every expert is a copy of; takes and ignores the routing."""

    def __init__(self, sizes: LayerSizes) -> None:
        hidden, inner = sizes.hidden_size, sizes.inner_size
        super().__init__(nn.Linear(hidden, inner), nn.GELU(), nn.Linear(inner, hidden))

    def forward(self, hidden: Tensor, *routing: Tensor) -> Tensor:
        """hidden (T, H) -> (T, H)."""
        return super().forward(hidden)
