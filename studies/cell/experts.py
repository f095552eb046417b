"""Whole experts: how much each is used, and which stay when some have to go.

Axis letters: E experts, T tokens, K chosen experts.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from padnet_hf.layers.feed_forward import PADFeedForward
from padnet_hf.layers.router import NoisyTopKRouter, Routing
from padnet_hf.method.layer import pad_layers, pad_weights


def routed_layers(model: nn.Module) -> dict[str, PADFeedForward]:
    """Dynamic feed-forward layers by name."""
    return {name: layer for name, layer in pad_layers(model).items() if isinstance(layer, PADFeedForward)}


@contextmanager
def counted_usage(model: nn.Module) -> Iterator[dict[str, Tensor]]:
    """Sums of gates per expert, (E,) float64 by layer, of all tokens that pass the routers inside, padding too."""
    layers = routed_layers(model)
    usage = {name: torch.zeros(layer.router.weight.shape[0], dtype=torch.float64) for name, layer in layers.items()}
    hooks = [layer.router.register_forward_hook(_counting(usage[name])) for name, layer in layers.items()]
    try:
        yield usage
    finally:
        for hook in hooks:
            hook.remove()


def _counting(total: Tensor) -> Callable[[NoisyTopKRouter, Any, Routing], None]:
    def count(router: NoisyTopKRouter, inputs: Any, routing: Routing) -> None:
        total.index_add_(0, routing.index.cpu().flatten(), routing.weights.detach().double().cpu().flatten())

    return count


@torch.no_grad()
def keep_most_used(model: nn.Module, batches: Iterable[Mapping[str, Tensor]], count: int) -> None:
    """Leave each layer the `count` experts with the largest sums of gates over the batches.

    In the manner of REAP (Lasby et al. 2025), which weighs the gates by the size of the experts' answers as well.
    The routers forget the others.
    """
    model.eval()
    with counted_usage(model) as usage:
        for batch in batches:
            model(**{name: value.to(model.device) for name, value in batch.items()})
    for name, layer in routed_layers(model).items():
        router = layer.router
        kept = usage[name].topk(count).indices.sort().values.to(router.weight.device)
        for weight in pad_weights(layer).values():
            weight.layout, weight.num_own_copies = replace(weight.layout, num_copies=count), count
            weight.become({"dynamic": weight.dynamic[kept]})
        for part in ("weight", "noise_weight"):
            if getattr(router, part) is not None:
                setattr(router, part, nn.Parameter(getattr(router, part)[kept]))
    model.config.num_experts = count
