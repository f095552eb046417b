"""What whole experts are chosen and merged by, from a few batches.

Axis letters: E experts, T tokens, K chosen experts, U units.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from padnet_hf.layers.feed_forward import PADFeedForward
from padnet_hf.layers.router import NoisyTopKRouter, Routing
from padnet_hf.method.layer import pad_weights
from padnet_hf.method.scoring import Batch, no_trace, run_batches
from padnet_hf.method.static_values import shares
from studies.cell.experts import routed_layers


@dataclass(frozen=True)
class Statistics:
    """By name of the layer, float64; shares by name of the weight.

    usage: (E,), sums of gates over tokens. saliency: (E,), means of gate times norm of the expert's answer, over the
    tokens that pass the expert (REAP, Lasby et al. 2025). likeness: (E, E), cosines of what the router says of two
    experts over all tokens. shares: for "usage" and "fisher", (E, U), what each copy counts for in an average.
    """

    usage: Mapping[str, Tensor]
    saliency: Mapping[str, Tensor]
    likeness: Mapping[str, Tensor]
    shares: Mapping[str, Mapping[str, Tensor]]


def gathered(model: nn.Module, batches: Sequence[Batch]) -> Statistics:
    """Run the batches. Padding does not count, but in the shares of usage."""
    layers = routed_layers(model)
    sums = {name: _Sums(layer) for name, layer in layers.items()}
    hooks = [layer.router.register_forward_hook(sums[name].add) for name, layer in layers.items()]
    try:
        with torch.no_grad(), no_trace(model, ()):
            for batch in batches:
                mask = batch.get("attention_mask", torch.ones_like(batch["input_ids"]))
                for of in sums.values():
                    of.counts = mask.flatten().bool()
                run_batches(model, [batch])
    finally:
        for hook in hooks:
            hook.remove()
    with no_trace(model, [weight.dynamic for weight in pad_weights(model).values()]):
        counted = {values: shares(values, model, batches) for values in ("usage", "fisher")}
    names = pad_weights(model).items()
    return Statistics(
        {name: of.gates for name, of in sums.items()},
        {name: of.norms / of.count.clamp(min=1) for name, of in sums.items()},
        {name: _cosines(of.products) for name, of in sums.items()},
        {values: {name: of[weight] for name, weight in names} for values, of in counted.items()},
    )


class _Sums:
    """Over the tokens of one layer, of those that the mask `counts`, (T,) bool, says."""

    counts: Tensor

    def __init__(self, layer: PADFeedForward) -> None:
        experts = layer.experts.num_experts
        self._experts = layer.experts
        self.gates, self.norms, self.count = torch.zeros(3, experts, dtype=torch.float64)
        self.products = torch.zeros(experts, experts, dtype=torch.float64)

    def add(self, router: NoisyTopKRouter, inputs: tuple[Tensor], routing: Routing) -> None:
        logits = routing.logits[self.counts].double()
        self.products += logits.T @ logits
        for expert in range(len(self.gates)):
            token, slot = torch.where((routing.index == expert) & self.counts[:, None])
            gates = routing.weights[token, slot]
            answers = self._experts(inputs[0][token], torch.full((len(token), 1), expert), torch.ones(len(token), 1))
            self.gates[expert] += gates.sum()
            self.norms[expert] += (gates * answers.norm(dim=-1)).sum()
            self.count[expert] += len(token)


def _cosines(products: Tensor) -> Tensor:
    lengths = products.diagonal().sqrt().clamp(min=1e-12)
    return products / lengths.outer(lengths)
