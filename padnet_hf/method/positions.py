"""Where dynamic and static candidates lie, worked out from a mask's bits once.

Axis letters: E copies, N candidates of one copy, n dynamic ones.
"""

from functools import partial

import torch
from torch import Tensor

from padnet_hf.errors import PADNetError
from padnet_hf.method.kept import Kept
from padnet_hf.method.packing import positions_of, unpack_mask

Positions = tuple[Tensor, Tensor | None]
"""Of dynamic and of static candidates, in rising order, int32: (n,) and (N-n,), or of each copy's own mask (E, n) and
None."""

_POSITIONS: Kept[Positions] = Kept()
"""By mask bits."""


def positions_in(mask: Tensor) -> Positions:
    """The positions of a mask (N,), or of masks (E, N) that have as many ones each."""
    if mask.dim() == 1:
        return positions_of(mask).int(), positions_of(~mask).int()
    return torch.stack([positions_of(own).int() for own in mask]), None


def positions_by_bits(bits: Tensor, length: int, count: int, what: str, rows: slice) -> Positions:
    """The same of a mask that is stored as bits, kept for the next time.

    Args:
        length: N.
        count: n, what the bits must say too.
        what: words for the candidates and their weight.
        rows: the copies that are asked for, if each has a mask of its own.

    Raises PADNetError if the bits have been changed so that they say something else.
    """
    return _POSITIONS.get((bits,), partial(_checked, bits, length, count, what, rows))


def _checked(bits: Tensor, length: int, count: int, what: str, rows: slice) -> Positions:
    mask = unpack_mask(bits if bits.dim() == 1 else bits[rows], length)
    counts = mask.sum(dim=-1).flatten()
    if (wrong := counts[counts != count]).numel():
        raise PADNetError(
            f"the mask of {what} has {int(wrong[0])} set bits, but {count} of them are dynamic: something has written "
            "to it. An average over models must copy buffers of whole numbers, not average them (AveragedModel: "
            "use_buffers=False)."
        )
    return positions_in(mask)
