"""Masks tried on a fully dynamic weight: its values are changed in place, and given back at the end."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from padnet_hf.method.packing import mean_over_copies, pack_mask, positions_of, unpack_mask
from padnet_hf.method.weight import PADWeight


def copies_are_equal(copies: Tensor) -> bool:
    """Whether all copies (E, ...) hold the same values, as they do after upcycling."""
    return all(torch.equal(copy, copies[0]) for copy in copies[1:])


@torch.no_grad()
def relatedness(weights: Iterable[PADWeight]) -> float:
    """How far the copies of fully dynamic weights are from their mean: sum |Theta_e - mean|^2 / sum |Theta_e|^2 (ours).

    0 after upcycling, (E-1)/E for copies that have nothing to do with each other.
    """
    apart = energy = 0.0
    for weight in weights:
        mean = mean_over_copies(weight.dynamic).float()  # exact where all are equal
        for copy in weight.dynamic:
            apart += float((copy - mean).square().sum())
            energy += float(copy.float().square().sum())
    return apart / energy if energy else 0.0


class MaskTrial:
    """A weight on which masks are tried, with what its static elements held.

    Of copies that are all equal one is enough to remember, and only where they are static: together with the scores of
    the elements that are dynamic still, that is one number per element of one copy (ours).
    """

    def __init__(self, weight: PADWeight) -> None:
        copies = weight.dynamic.detach()
        self._equal = copies_are_equal(copies)
        self._groups = copies.split(len(copies) if self._equal else 1)
        """Copies that are remembered together, (E, *shape) or (1, *shape) each."""
        self._static_bits: Tensor | None = None
        self._held: list[Tensor] = []

    def apply(self, mask: Tensor, branch: str, value: Callable[[Tensor], Tensor] = mean_over_copies) -> None:
        """Show what elements outside `mask` (*shape) bool do once static: nothing ("drop"), or their value ("keep")."""
        if branch == "keep" and self._equal:
            return
        static = positions_of(~mask.flatten())
        held = [self._own(number).index_select(0, static) for number in range(len(self._groups))]
        self._held, self._static_bits = held, pack_mask(~mask)
        shown = value(torch.stack(held)) if branch == "keep" else held[0].new_zeros(1).expand(len(static))
        for copies in self._groups:
            for copy in copies:
                copy.view(-1).index_copy_(0, static, shown)

    def undo(self) -> None:
        """Give the weight its own values back."""
        if self._held:
            for number, copies in enumerate(self._groups):
                copies.copy_(self._own(number).view(copies.shape[1:]))
        self._held, self._static_bits = [], None

    def _own(self, group: int) -> Tensor:
        """The values that the copies of a group had at first, (N,)."""
        own = self._groups[group][0].flatten().clone()
        if self._held:
            static = positions_of(unpack_mask(self._static_bits, len(own)))
            own.index_copy_(0, static, self._held[group])
        return own


@contextmanager
def trials(weights: Iterable[PADWeight]) -> Iterator[dict[PADWeight, MaskTrial]]:
    """What masks can be tried with, by weight; at the end the weights have their own values, on errors too."""
    by_weight = {weight: MaskTrial(weight) for weight in weights}
    try:
        yield by_weight
    finally:
        for trial in by_weight.values():
            trial.undo()
