"""The candidates of a whole model while IMP runs: which are dynamic still, and which remain so after the next round."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from padnet_hf.errors import PADNetError
from padnet_hf.method.config import PartitionConfig
from padnet_hf.method.layer import MaskGroup
from padnet_hf.method.packing import first_positions, pack_mask, positions_of, unpack_mask
from padnet_hf.method.selection import select_elements, select_own_elements, select_own_units, select_units
from padnet_hf.method.weight import PADWeight


class Candidates(ABC):
    """The N elements or U units of every mask group.

    Attributes:
        masks: which are dynamic still, as bits, (ceil(N/8),) or (ceil(U/8),) uint8 for each group; (E, ...) where each
            copy has a mask of its own.
        weights: the weights that are scored, in the order of their groups.
    """

    def __init__(self, groups: Sequence[MaskGroup], config: PartitionConfig) -> None:
        self._groups = groups
        self._scope = config.scope
        self._sizes = [group.weights[0].num_candidates(config.granularity) for group in groups]
        of_each = config.masks == "per_copy"
        self.masks = []
        for group, size in zip(groups, self._sizes, strict=True):
            copies = (group.weights[0].num_copies,) if of_each else ()
            self.masks.append(first_positions(size, size, group.weights[0].values.device, copies))
        self.weights = [weight for group in groups for weight in group.weights]
        self._group_of = {weight: number for number, group in enumerate(groups) for weight in group.weights}
        self._share = 1.0

    def mask_of(self, weight: PADWeight) -> Tensor:
        """Which candidates of a weight are dynamic still, (N,) or (U,) bool, or (E, N) or (E, U)."""
        return self._mask(self._group_of[weight])

    def _mask(self, group: int) -> Tensor:
        return unpack_mask(self.masks[group], self._sizes[group])

    def select(self, contributions: Sequence[Tensor], share: float) -> None:
        """Keep those whose contributions are largest in magnitude, as many as make up `share` of all candidates.

        contributions: as `reduced` gives them, summed over batches, one tensor per weight; used up.
        Raises PADNetError if all are zero.
        """
        left = [contribution for contribution in contributions if contribution.numel()]
        if left and not any(bool(contribution.any()) for contribution in left):
            raise PADNetError(
                "all scores are zero, so there is nothing to choose by: the loss of the calibration batches has no "
                "gradient in the dynamic layers (a head of zeros lets none through). Train the head for some steps "
                "first, or choose the criterion 'magnitude' or 'random'."
            )
        self.masks = [pack_mask(mask) for mask in self._selected(contributions, share)]
        self._share = share

    @abstractmethod
    def reduced(self, weight: PADWeight, contribution: Tensor) -> Tensor:
        """Contributions of a weight's elements, (*shape) or (E, *shape), -> those of its candidates."""

    @abstractmethod
    def _selected(self, contributions: Sequence[Tensor], share: float) -> list[Tensor]: ...


class Elements(Candidates):
    """Every element by itself; those that are static already need no score, and take no memory for one."""

    def reduced(self, weight: PADWeight, contribution: Tensor) -> Tensor:
        flat = contribution.flatten()
        return flat if self._share == 1 else flat.index_select(0, positions_of(self.mask_of(weight)))

    def _selected(self, contributions: Sequence[Tensor], share: float) -> list[Tensor]:
        scores = [contribution.abs_() for contribution in contributions]
        among_dynamic = select_elements(scores, share, self._scope, self._sizes)
        masks = map(self._mask, range(len(self._groups)))
        return [mask.index_copy_(0, positions_of(mask), kept) for mask, kept in zip(masks, among_dynamic, strict=True)]


class Units(Candidates):
    """Whole units: their contributions are summed over all their elements, in every weight of the group."""

    def reduced(self, weight: PADWeight, contribution: Tensor) -> Tensor:
        return weight.layout.per_unit(contribution)

    select_best = staticmethod(select_units)

    def _selected(self, contributions: Sequence[Tensor], share: float) -> list[Tensor]:
        scores, unit_sizes = [], []
        remaining = iter(contributions)
        for number, group in enumerate(self._groups):
            score = sum(next(remaining) for _ in group.weights).abs()
            score[~self._mask(number)] = -1  # out of the running
            scores.append(score)
            unit_sizes.append(sum(weight.shape.numel() for weight in group.weights) // self._sizes[number])
        return self.select_best(scores, share, self._scope, unit_sizes)


class OwnElements(Candidates):
    """Elements, of which every copy keeps others; of all copies of a weight as many are static already."""

    def reduced(self, weight: PADWeight, contribution: Tensor) -> Tensor:
        flat = contribution.flatten(1)
        return flat if self._share == 1 else flat[self.mask_of(weight)].view(len(flat), -1)

    def _selected(self, contributions: Sequence[Tensor], share: float) -> list[Tensor]:
        scores = [contribution.abs_() for contribution in contributions]
        among_dynamic = select_own_elements(scores, share, self._scope, self._sizes)
        masks = map(self._mask, range(len(self._groups)))
        return [mask.masked_scatter_(mask.clone(), kept) for mask, kept in zip(masks, among_dynamic, strict=True)]


class OwnUnits(Units):
    """Units, of which every copy keeps others."""

    select_best = staticmethod(select_own_units)

    def reduced(self, weight: PADWeight, contribution: Tensor) -> Tensor:
        return torch.stack([weight.layout.per_unit(own) for own in contribution])


def candidates(groups: Sequence[MaskGroup], config: PartitionConfig) -> Candidates:
    """The candidates that a configuration chooses from, all of them dynamic."""
    kinds = (Elements, OwnElements) if config.granularity == "element" else (Units, OwnUnits)
    return kinds[config.masks == "per_copy"](groups, config)
