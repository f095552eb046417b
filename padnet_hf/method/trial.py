"""Masks tried on a fully dynamic weight: its values are changed in place, and given back at the end."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from padnet_hf.method.layout import Granularity
from padnet_hf.method.packing import pack_mask, positions_of, unpack_mask
from padnet_hf.method.static_values import mean_of
from padnet_hf.method.weight import PADWeight


def copies_are_equal(copies: Tensor) -> bool:
    """Whether all copies (E, ...) hold the same values, as they do after upcycling."""
    return all(torch.equal(copy, copies[0]) for copy in copies[1:])


class MaskTrial:
    """A weight on which masks are tried, each inside the one before, with what its static candidates held.

    Of copies that are all equal one is enough to remember: with the scores of the candidates that are dynamic still,
    that is one number per element of one copy (ours).
    """

    def __init__(self, weight: PADWeight, granularity: Granularity) -> None:
        self._weight, self._granularity = weight, granularity
        self._copies = weight.dynamic.detach()
        self._equal = copies_are_equal(self._copies)
        self._taken: list[tuple[Tensor, list[Tensor]]] = []
        """Which candidates became static, as bits, and their values, (1, ...) for each group of equal copies."""
        self._static: Tensor | None = None

    def static(self, value: Callable[[PADWeight], Tensor]) -> Tensor:
        """The static values of all that is dynamic still, whatever is tried.

        With one mask for all copies they stand in the weight untouched. With a mask for each copy what one copy still
        has may be tried in another: they were kept before that.
        """
        return value(self._weight) if self._static is None else self._static

    def apply(self, mask: Tensor, branch: str, value: Callable[[PADWeight], Tensor] = mean_of) -> None:
        """Show what candidates outside `mask` do once static: nothing ("drop"), or have their value ("keep").

        mask: (N,) or (U,) bool, or one for each copy, (E, N) or (E, U); dynamic only where the one before it was.
        value: gives the weight's static values.
        """
        if branch == "keep" and self._equal:
            return
        new = ~mask
        for bits, _ in self._taken:
            new &= ~unpack_mask(bits, mask.shape[-1])
        if mask.dim() == 2:
            self._static = self.static(value)
        static, held = None, []
        if branch == "keep":
            one = new.view(-1, new.shape[-1])[0]
            static, _, _ = self._weight.layout.places(self.static(value).unsqueeze(0), one, self._granularity)
        for copies, dim, positions in self._groups(new):
            held.append(copies[:1].index_select(dim, positions))
            shown = torch.zeros_like(held[-1]) if static is None else static.index_select(dim, positions)
            copies.index_copy_(dim, positions, shown.expand(len(copies), *shown.shape[1:]))
        self._taken.append((pack_mask(new), held))

    def undo(self) -> None:
        """Give the weight its own values back."""
        total = self._weight.num_candidates(self._granularity)
        for bits, held in self._taken:
            for (copies, dim, positions), values in zip(self._groups(unpack_mask(bits, total)), held, strict=True):
                copies.index_copy_(dim, positions, values.expand(len(copies), *values.shape[1:]))
        self._taken = []

    def _groups(self, mask: Tensor) -> Iterator[tuple[Tensor, int, Tensor]]:
        """Copies that hold the same, the dimension of their candidates, and positions of those under their mask."""
        of_each = mask.dim() == 2
        pairs = zip(self._copies.split(1), mask, strict=True) if of_each else [(self._copies, mask)]
        for copies, own in pairs:
            places, dim, along = self._weight.layout.places(copies, own, self._granularity)
            positions = positions_of(along)
            for group in places.split(len(places) if self._equal else 1):
                yield group, dim, positions


@contextmanager
def trials(weights: Iterable[PADWeight], granularity: Granularity) -> Iterator[dict[PADWeight, MaskTrial]]:
    """What masks can be tried with, by weight; at the end the weights have their own values, on errors too."""
    by_weight = {weight: MaskTrial(weight, granularity) for weight in weights}
    try:
        yield by_weight
    finally:
        for trial in by_weight.values():
            trial.undo()
