"""Scores: how much a layer would lose if an element were static.

A criterion sees the copies of a weight and, if it asks for them, the gradients of one calibration batch. What it
returns is summed over batches, and over the elements of a unit; the magnitude of the sum is the score. With a mask for
each copy it sees one copy alone.

Axis letters: E copies.
"""

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from padnet_hf.errors import PADNetError


@dataclass(frozen=True)
class Scored:
    """One weight, as a criterion sees it. What it may come to hold besides breaks no criterion.

    Attributes:
        copies: (E, *shape), of the weight's dtype.
        gradients: (E, *shape), those of the loss of one calibration batch; None if the criterion asks for none.
        generator: of everything random.
        make_static: () -> (*shape), what `static` gives.
    """

    copies: Tensor
    gradients: Tensor | None
    generator: torch.Generator
    make_static: Callable[[], Tensor]

    @cached_property
    def static(self) -> Tensor:
        """The value that each element would have in all copies if it were static, (*shape)."""
        return self.make_static()


Score = Callable[[Scored], Tensor]


@dataclass(frozen=True)
class Criterion:
    """A scoring rule.

    Attributes:
        name: what `PartitionConfig.criterion` calls it.
        score: a weight -> contribution (*shape), float32.
        needs_gradients: whether calibration batches are run; without, `score` is called once, without gradients.
        compares_copies: whether it holds copies against each other, so that one by itself has no score.
    """

    name: str
    score: Score
    needs_gradients: bool
    compares_copies: bool = False


_CHUNK = 1 << 20
"""Elements that are looked at together: no whole weight is made in another dtype."""

_CRITERIA: dict[str, Criterion] = {}


def register_criterion(
    name: str, *, needs_gradients: bool = True, compares_copies: bool = False
) -> Callable[[Score], Score]:
    """Decorator: make a function of a `Scored` weight available as `PartitionConfig(criterion=name)`.

    Where every copy has a mask of its own it is called with one copy after the other, as if there were no others. One
    that compares copies cannot be, and says so (`compares_copies`).

    Raises PADNetError if the name is taken, and if the function takes something else.
    """

    def register(score: Score) -> Score:
        if name in _CRITERIA:
            raise PADNetError(f"criterion {name!r} exists already; choose another name than {criterion_names()}.")
        if len(inspect.signature(score).parameters) != 1:
            raise PADNetError(
                f"criterion {name!r} takes {inspect.signature(score)}, but must take one argument, the weight: it has "
                "`copies`, `gradients`, `static` and `generator`."
            )
        _CRITERIA[name] = Criterion(name, score, needs_gradients, compares_copies)
        return score

    return register


def criterion_names() -> tuple[str, ...]:
    """Names that `PartitionConfig.criterion` takes."""
    return tuple(_CRITERIA)


def criterion_named(name: str) -> Criterion:
    """The criterion registered under this name."""
    return _CRITERIA[name]


@register_criterion("snip")
def _snip(weight: Scored) -> Tensor:
    """sum_e Theta_e * dL/dTheta_e = dL/dM at the present mask (PAD-Net, section 3.3, after SNIP, Lee et al. 2019)."""
    contribution = _zeros(weight)
    for copy, gradient in zip(weight.copies, weight.gradients, strict=True):
        for total, values, slopes in _in_chunks(contribution, copy, gradient):
            total.addcmul_(values.float(), slopes.float())
    return contribution


@register_criterion("fisher")
def _fisher(weight: Scored) -> Tensor:
    """sum_e (dL/dTheta_e)^2 (Theta_e - s)^2, where s is the static value (ours; after Fisher merging, Matena and Raffel
    2022): what the loss rises by, to second order with the empirical Fisher diagonal, if the element becomes static.
    """
    contribution = _zeros(weight)
    for copy, gradient in zip(weight.copies, weight.gradients, strict=True):
        for total, values, slopes, static in _in_chunks(contribution, copy, gradient, weight.static):
            moved = (values.float() - static.float()).mul_(slopes.float())
            total.addcmul_(moved, moved)
    return contribution


@register_criterion("magnitude", needs_gradients=False)
def _magnitude(weight: Scored) -> Tensor:
    """Mean over copies of |Theta_e|, the usual baseline of pruning."""
    contribution = _zeros(weight)
    for copy in weight.copies:
        for total, values in _in_chunks(contribution, copy):
            total.add_(values.float().abs(), alpha=1 / len(weight.copies))
    return contribution


@register_criterion("random", needs_gradients=False)
def _random(weight: Scored) -> Tensor:
    """Uniform noise: what a partition is worth that looks at nothing."""
    generator, shape = weight.generator, weight.copies.shape[1:]
    drawn = torch.rand(shape, generator=generator, dtype=torch.float32, device=generator.device)
    return drawn.to(weight.copies.device)


def _zeros(weight: Scored) -> Tensor:
    return torch.zeros(weight.copies.shape[1:], dtype=torch.float32, device=weight.copies.device)


def _in_chunks(*tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Parts of tensors of one shape that lie in the same places."""
    return zip(*(tensor.flatten().split(_CHUNK) for tensor in tensors), strict=True)
