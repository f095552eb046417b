"""How far apart the copies of a layer are, and what a partition may expect of that (ours).

The measure is sum_e |Theta_e - mean|^2 / sum_e |Theta_e|^2: 0 while all copies are equal, as after upcycling, and
(E-1)/E for copies that have nothing to do with each other.

Axis letters: E copies.
"""

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from padnet_hf.method.layer import pad_layers
from padnet_hf.method.packing import mean_over_copies

_RELATIVES = 0.5
"""Copies are relatives up to this share of what strangers have. Those of our study have at most 0.15 of it, or all."""


def relatedness(model: nn.Module) -> dict[str, float]:
    """The measure of every PAD layer by name, over its dynamic values; layers that have none are left out."""
    return of_tensors(model.named_parameters(), list(pad_layers(model)))


@torch.no_grad()
def of_tensors(named: Iterable[tuple[str, Tensor]], layers: Sequence[str]) -> dict[str, float]:
    """The same from a model's tensors, one after the other, and the names of its PAD layers."""
    sums = {layer: [0.0, 0.0] for layer in layers}
    for name, copies in named:  # a layer by itself has no name
        layer = next((layer for layer in layers if name.startswith(f"{layer}." if layer else layer)), None)
        if layer is not None and name.endswith(".dynamic"):
            for number, value in enumerate(_distances(copies)):
                sums[layer][number] += value
    return {layer: apart / energy for layer, (apart, energy) in sums.items() if energy}


def _distances(copies: Tensor) -> tuple[float, float]:
    """sum_e |Theta_e - mean|^2 and sum_e |Theta_e|^2 of copies (E, ...)."""
    mean, apart, energy = mean_over_copies(copies).float(), 0.0, 0.0  # exact where all are equal
    for copy in copies:
        apart += float((copy.float() - mean).square().sum())
        energy += float(copy.float().square().sum())
    return apart, energy


def advice(values: Mapping[str, float], num_copies: int) -> str:
    """What follows of the values of all layers, in a sentence."""
    strangers = (num_copies - 1) / num_copies
    most = max(values.values())
    if most == 0:
        return "all copies are equal: which values are dynamic does not change the outputs, only what is learned next"
    if most <= _RELATIVES * strangers:
        return (
            f"the copies are relatives (at most {most:.2g}, strangers have {strangers:.3g}): they can share a static "
            "part, weighted and chosen by gradients (criterion and static values 'fisher')"
        )
    return (
        f"copies are strangers in some layers (up to {most:.2g}; {strangers:.3g} is as far as can be): a shared static "
        "part costs much there, unless the model is trained on for long"
    )
