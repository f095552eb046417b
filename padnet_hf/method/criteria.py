"""Scores: how much a layer would lose if an element were static.

A criterion sees the copies of a weight and, if it asks for them, the gradients of one calibration batch. What it
returns is summed over batches, and over the elements of a unit; the magnitude of the sum is the score.

Axis letters: E copies.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from padnet_hf.errors import PADNetError

Score = Callable[[Tensor, Tensor | None, torch.Generator], Tensor]


@dataclass(frozen=True)
class Criterion:
    """A scoring rule.

    Attributes:
        name: what `PartitionConfig.criterion` calls it.
        score: (copies (E, *shape), gradients (E, *shape) or None, generator) -> contribution (*shape), float32.
        needs_gradients: whether calibration batches are run; without, `score` is called once with gradients None.
    """

    name: str
    score: Score
    needs_gradients: bool


_CHUNK = 1 << 20
"""Elements that are looked at together: no whole weight is made in another dtype."""

_CRITERIA: dict[str, Criterion] = {}


def register_criterion(name: str, *, needs_gradients: bool = True) -> Callable[[Score], Score]:
    """Decorator: make a scoring function available as `PartitionConfig(criterion=name)`.

    Raises PADNetError if the name is taken.
    """

    def register(score: Score) -> Score:
        if name in _CRITERIA:
            raise PADNetError(f"criterion {name!r} exists already; choose another name than {criterion_names()}.")
        _CRITERIA[name] = Criterion(name, score, needs_gradients)
        return score

    return register


def criterion_names() -> tuple[str, ...]:
    """Names that `PartitionConfig.criterion` takes."""
    return tuple(_CRITERIA)


def criterion_named(name: str) -> Criterion:
    """The criterion registered under this name."""
    return _CRITERIA[name]


@register_criterion("snip")
def _snip(copies: Tensor, gradients: Tensor | None, generator: torch.Generator) -> Tensor:
    """sum_e Theta_e * dL/dTheta_e = dL/dM at the present mask (PAD-Net, section 3.3, after SNIP, Lee et al. 2019)."""
    contribution = torch.zeros(copies.shape[1:], dtype=torch.float32, device=copies.device)
    for copy, gradient in zip(copies, gradients, strict=True):
        chunks = (tensor.flatten().split(_CHUNK) for tensor in (contribution, copy, gradient))
        for total, values, slopes in zip(*chunks, strict=True):
            total.addcmul_(values.float(), slopes.float())
    return contribution


@register_criterion("magnitude", needs_gradients=False)
def _magnitude(copies: Tensor, gradients: Tensor | None, generator: torch.Generator) -> Tensor:
    """Mean over copies of |Theta_e|, the usual baseline of pruning."""
    contribution = torch.zeros(copies.shape[1:], dtype=torch.float32, device=copies.device)
    for copy in copies:
        for total, values in zip(*(tensor.flatten().split(_CHUNK) for tensor in (contribution, copy)), strict=True):
            total.add_(values.float().abs(), alpha=1 / len(copies))
    return contribution


@register_criterion("random", needs_gradients=False)
def _random(copies: Tensor, gradients: Tensor | None, generator: torch.Generator) -> Tensor:
    """Uniform noise: what a partition is worth that looks at nothing."""
    drawn = torch.rand(copies.shape[1:], generator=generator, dtype=torch.float32, device=generator.device)
    return drawn.to(copies.device)
