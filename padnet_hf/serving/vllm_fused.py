"""Gated unit partitions in the layout that vLLM's fused experts take: a gate, `experts`, and `shared_experts`.

What vLLM reads is the names, the shapes, and the order of operations in `FusedMixture.forward`; it puts modules of its
own in their places (vllm/model_executor/models/transformers/moe.py).

Axis letters: T tokens, E experts, K chosen experts, H hidden, d dynamic inner neurons, s static ones.
"""

from collections.abc import Iterable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.activations import SiLUActivation

from padnet_hf.errors import PADCheckpointError
from padnet_hf.export.stock_parts import parts_of_layer
from padnet_hf.layers.feed_forward import PADFeedForward
from padnet_hf.method.layer import pad_layers


class Gate(nn.Module):
    """The router without noise: a softmax over all experts, of which the K largest are divided by their sum."""

    def __init__(self, num_experts: int, hidden: int, top_k: int) -> None:
        super().__init__()
        self.top_k = top_k
        self.weight = nn.Parameter(torch.empty(num_experts, hidden))

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """tokens (T, H) -> logits (T, E), weights (T, K), index (T, K)."""
        logits = F.linear(tokens, self.weight)
        weights, index = logits.softmax(dim=-1, dtype=torch.float32).topk(self.top_k, dim=-1)
        return logits, weights / weights.sum(dim=-1, keepdim=True), index


class Experts(nn.Module):
    """The dynamic neurons of every expert."""

    def __init__(self, num_experts: int, hidden: int, dynamic: int) -> None:
        super().__init__()
        self.gate_up_proj = nn.Parameter(torch.empty(num_experts, 2 * dynamic, hidden))
        self.down_proj = nn.Parameter(torch.empty(num_experts, hidden, dynamic))

    def forward(self, tokens: Tensor, index: Tensor, weights: Tensor) -> Tensor:
        raise NotImplementedError("vLLM's fused experts stand here")


class SharedNetwork(nn.Module):
    """The static neurons."""

    def __init__(self, hidden: int, static: int, activation: nn.Module) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(hidden, static, bias=False)
        self.up_proj = nn.Linear(hidden, static, bias=False)
        self.down_proj = nn.Linear(static, hidden, bias=False)
        self.act_fn = activation

    def forward(self, tokens: Tensor) -> Tensor:
        """(T, H) -> (T, H)."""
        return self.down_proj(self.act_fn(self.gate_proj(tokens)) * self.up_proj(tokens))


class FusedMixture(nn.Module):
    """A PAD layer in which nothing is static."""

    def __init__(self, layer: PADFeedForward) -> None:
        super().__init__()
        experts, hidden = layer.experts, layer.experts.weights.down.shape[0]
        self.gate = Gate(experts.num_experts, hidden, layer.router.top_k)
        self.experts = Experts(experts.num_experts, hidden, sizes(layer)[0])

    def forward(self, hidden: Tensor) -> Tensor:
        """(..., H) -> (..., H)."""
        tokens = hidden.reshape(-1, hidden.shape[-1])
        _, weights, index = self.gate(tokens)
        return self.experts(tokens, index, weights).reshape(hidden.shape)


class FusedPartition(FusedMixture):
    """A PAD layer partitioned by unit."""

    def __init__(self, layer: PADFeedForward) -> None:
        super().__init__(layer)
        self.shared_experts = SharedNetwork(layer.experts.weights.down.shape[0], sizes(layer)[1], layer.experts.act_fn)

    def forward(self, hidden: Tensor) -> Tensor:
        """(..., H) -> (..., H)."""
        tokens = hidden.reshape(-1, hidden.shape[-1])
        _, weights, index = self.gate(tokens)
        output = self.experts(tokens, index, weights) + self.shared_experts(tokens)
        return output.reshape(hidden.shape)


def sizes(layer: PADFeedForward) -> tuple[int, int]:
    """d and s."""
    down = layer.experts.weights.down
    dynamic = down.dynamic.shape[2]
    return dynamic, down.shape[1] - dynamic


def fusible(model: nn.Module, num_processes: int) -> dict[str, PADFeedForward]:
    """The PAD layers with experts by name, if vLLM's fused experts can hold every one of them; else none.

    They have gates, SiLU and no biases, and spread their neurons over processes evenly.
    """
    layers = {name: layer for name, layer in pad_layers(model).items() if not layer.experts.is_static}
    return layers if all(_is_fusible(layer, num_processes) for layer in layers.values()) else {}


def _is_fusible(layer: PADFeedForward, num_processes: int) -> bool:
    up, up_bias, _, down_bias = layer.experts.weights
    if not layer.experts.gated or up_bias is not None or down_bias is not None:
        return False
    is_of_units = (up.phi is None or up.granularity == "unit") and not up.leaves_out
    is_silu = isinstance(layer.experts.act_fn, nn.SiLU | SiLUActivation)
    return is_of_units and is_silu and not any(size % num_processes for size in sizes(layer))


def fuse(model: nn.Module, layers: dict[str, PADFeedForward]) -> None:
    """Put a fused mixture in the place of each of these layers."""
    for name, layer in layers.items():
        with torch.device("meta"):
            mixture = FusedPartition(layer) if sizes(layer)[1] else FusedMixture(layer)
        model.set_submodule(name, mixture.to(layer.router.weight.dtype))


def fused_weights(
    weights: Iterable[tuple[str, Tensor]], layers: dict[str, PADFeedForward]
) -> Iterator[tuple[str, Tensor]]:
    """The tensors of a checkpoint, those of `layers` (by the name in front of their tensors') as fused mixtures have
    them.

    A layer is in memory twice while it is taken apart, one after the other.
    Raises PADCheckpointError if a tensor of theirs is missing.
    """
    waiting = {name: dict.fromkeys(layer.state_dict()) for name, layer in layers.items()}
    for name, tensor in weights:
        owner = next((layer for layer in waiting if name.startswith(f"{layer}.")), None)
        if owner is None:
            yield name, tensor
            continue
        state = waiting[owner]
        state[name.removeprefix(f"{owner}.")] = tensor
        if all(value is not None for value in state.values()):
            yield from _taken_apart(owner, layers[owner], waiting.pop(owner))
    for owner, state in waiting.items():
        missing = next(name for name, value in state.items() if value is None)
        raise PADCheckpointError(f"the checkpoint has no {owner}.{missing}: get it again.")


def _taken_apart(name: str, layer: PADFeedForward, state: dict[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    layer.load_state_dict(state, assign=True)
    parts = parts_of_layer(name, layer)
    yield f"{name}.gate.weight", parts.router
    yield f"{name}.experts.gate_up_proj", parts.gate_up
    yield f"{name}.experts.down_proj", parts.down
    if parts.shared_down is not None:
        yield f"{name}.shared_experts.gate_proj.weight", parts.shared_gate
        yield f"{name}.shared_experts.up_proj.weight", parts.shared_up
        yield f"{name}.shared_experts.down_proj.weight", parts.shared_down
    layer.to("meta")
