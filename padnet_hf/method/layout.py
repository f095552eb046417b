"""How the copies of one weight lie, and which tensors hold them: sizes alone, no values.

Axis letters: E copies, N elements of one copy, U units of one copy, n or d dynamic elements or units.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from padnet_hf.errors import PADNetError
from padnet_hf.method.packing import num_mask_bytes

Granularity = Literal["element", "unit"]
Masks = Literal["shared", "per_copy"]

Shapes = Mapping[str, tuple[int, ...]]
"""Shapes of the tensors of a weight by name."""


class Form(NamedTuple):
    """How much of a weight is dynamic: a count of elements or units, the same ones in all copies or each copy's own.

    Units of their own ("unit", "per_copy") are those that each copy keeps; it has no others, as nothing is static.
    """

    num_dynamic: int
    granularity: Granularity
    masks: Masks = "shared"

    @property
    def leaves_out(self) -> bool:
        """Whether what is not dynamic is left out."""
        return self.granularity == "unit" and self.masks == "per_copy"


@dataclass(frozen=True)
class Layout:
    """E copies of a weight of one shape.

    Attributes:
        num_copies: E.
        shape: of one copy.
        unit_dim: the dimension of `shape` along which units lie; None for a weight that belongs to no unit and is
            dynamic or static as a whole when the granularity is `unit` (a feed-forward layer's output bias).
        unit_blocks: how often all units lie along that dimension, one block after the other: 2 where one matrix holds
            the gates' rows and then the up projection's, so that unit i has a row in each.
        ordered: whether the order of units matters. Where it does not (the inner neurons of a feed-forward layer), the
            dynamic units come first and no mask is stored.
    """

    num_copies: int
    shape: torch.Size
    unit_dim: int | None = None
    unit_blocks: int = 1
    ordered: bool = True

    def num_candidates(self, granularity: Granularity) -> int:
        """How many parts can be dynamic or static each by itself: N elements or U units (1 if it has no units)."""
        if granularity == "element":
            return self.shape.numel()
        return 1 if self.unit_dim is None else self.shape[self.unit_dim] // self.unit_blocks

    def _counts(self, form: Form) -> range:
        """The counts that there can be in such a form."""
        total = self.num_candidates(form.granularity)
        if not form.leaves_out:
            return range(total + 1)
        has_channels = self.unit_dim is not None and self.ordered
        return range(0) if has_channels else range(1, total + 1)

    def shapes(self, form: Form) -> dict[str, tuple[int, ...]]:
        """Shape of every tensor that exists in this form. Raises PADNetError if the count is not in 0..candidates."""
        (count, granularity, masks), counts = form, self._counts(form)
        total = self.num_candidates(granularity)
        if not counts:
            raise PADNetError(
                "masks 'per_copy' over output channels are not possible: a channel cannot be left out, as what follows "
                "a convolution needs all of them. Choose granularity 'element', or masks 'shared'."
            )
        if isinstance(count, bool) or not isinstance(count, int) or count not in counts:
            raise PADNetError(
                f"dynamic count {count!r} is not possible: a weight of shape {tuple(self.shape)} has {total} "
                f"{granularity}s, so the count must be a whole number from {counts[0]} to {total}."
            )
        if count == total:
            return {"dynamic": (self.num_copies, *self.shape)}
        if count == 0:
            return {"static": tuple(self.shape)}
        own = masks == "per_copy"
        if granularity == "element":
            dynamic, static, ordered = [count], [total if own else total - count], True
        else:
            dynamic, static, ordered = list(self.shape), list(self.shape), self.ordered
            dynamic[self.unit_dim] = count * self.unit_blocks
            static[self.unit_dim] = (total - count) * self.unit_blocks
        found = {"dynamic": (self.num_copies, *dynamic)}
        if form.leaves_out:
            return found
        found |= {"static": tuple(static), "phi": (1,)}  # FSDP2 shards no scalars
        of_copies = (self.num_copies,) if own else ()
        return found | ({"mask_bits": (*of_copies, num_mask_bytes(total))} if ordered else {})

    def form_of(self, shapes: Shapes, granularity: Granularity) -> Form | None:
        """The form that has tensors of these shapes, None if none has; by this granularity where both have it."""
        granularities = (granularity, "unit" if granularity == "element" else "element")
        for masks, name in product(get_args(Masks), granularities):
            form = Form(self._count(shapes, name), name, masks)
            if form.num_dynamic in self._counts(form) and self.shapes(form) == dict(shapes):
                return form
        return None

    def _count(self, shapes: Shapes, granularity: Granularity) -> int:
        """The count that such shapes can have, should they fit."""
        dynamic = shapes.get("dynamic")
        if dynamic is None:
            return 0
        if dynamic[1:] == tuple(self.shape):
            return self.num_candidates(granularity)
        if granularity == "element":
            return dynamic[1] if len(dynamic) == 2 else -1
        has_units = self.unit_dim is not None and len(dynamic) == 1 + len(self.shape)
        return dynamic[1 + self.unit_dim] // self.unit_blocks if has_units else -1

    @property
    def num_unit_values(self) -> int:
        """How many numbers say something of every unit: U, or the rows of a weight that has no units."""
        return self.shape[self.unit_dim or 0] // self.unit_blocks

    def per_unit(self, values: Tensor) -> Tensor:
        """Values (*shape) -> their sums over each unit's elements, (U,), or over rows where there are no units."""
        along = values.movedim(self.unit_dim or 0, 0)
        return along.reshape(self.unit_blocks, self.num_unit_values, -1).sum(dim=(0, 2))

    def along_units(self, values: Tensor) -> Tensor:
        """One value per unit, (U,), or one for all, (1,), -> the same, broadcast to (*shape)."""
        sizes = [-1 if dim == (self.unit_dim or 0) else 1 for dim in range(len(self.shape))]
        return (values if len(values) == 1 else values.repeat(self.unit_blocks)).view(sizes)

    def over_elements(self, values: Tensor) -> Tensor:
        """One value per unit, (U,), -> the same for each of the unit's elements, (N,)."""
        return self.along_units(values).expand(self.shape).flatten()

    def places(self, copies: Tensor, mask: Tensor, granularity: Granularity) -> tuple[Tensor, int, Tensor]:
        """Where the candidates of copies (E, *shape) lie: a view of them, its dimension, and `mask` along it.

        mask: (N,) or (U,) bool. The view is (E, N) by element and the copies themselves by unit.
        """
        if granularity == "element":
            return copies.flatten(1), 1, mask
        return copies, 1 + self.unit_dim, mask.repeat(self.unit_blocks)
