"""Which candidates stay dynamic: exact top-k over many score tensors, ties to the lower index.

Nothing is sorted and nothing concatenated: non-negative floats keep their order when read as integers, so the k-th
largest score is found digit by digit, in two histograms of 16 bits each.
"""

import torch
from torch import Tensor

UNIT_BLOCK = 8
"""Units are chosen in blocks of this many: matrix kernels need sizes that are multiples of 8."""

_DIGIT_BITS = 16
_CHUNK = 1 << 22


def top_k(scores: list[Tensor], count: int) -> list[Tensor]:
    """Masks of the `count` largest of all scores together.

    scores: float32, one tensor (N_i,) per weight, NaN not allowed; a negative score is out of the running. Gives bool
    masks (N_i,) with exactly `count` ones in all (0 <= count <= number of scores in the running). Between equal scores
    the lower index wins, an earlier tensor before a later one. Time O(sum of N_i), memory one copy of the scores.
    """
    if count <= 0:
        return [torch.zeros_like(score, dtype=torch.bool) for score in scores]
    digits = [torch.where(score < 0, 0, score.abs().view(torch.int32) + 1) for score in scores]
    threshold, num_above = 0, 0
    for shift in (_DIGIT_BITS, 0):
        histogram = sum(_histogram(digit, shift, threshold).cpu() for digit in digits)
        at_least = num_above + histogram.flip(0).cumsum(0).flip(0)  # how many reach this digit or a higher one
        digit = int((at_least >= count).nonzero()[-1])
        num_above = int(at_least[digit] - histogram[digit])
        threshold |= digit << shift
    masks, num_ties = [], count - num_above
    for digit in digits:
        mask = digit > threshold
        ties = (digit == threshold).nonzero().squeeze(1)[:num_ties]
        num_ties -= len(ties)
        mask[ties] = True
        masks.append(mask)
    return masks


def _histogram(values: Tensor, shift: int, prefix: int) -> Tensor:
    """Histogram (2**16,) int64 of the 16 bits above `shift` of the values whose higher bits are those of `prefix`."""
    counts = torch.zeros(1 << _DIGIT_BITS, dtype=torch.int64, device=values.device)
    for chunk in values.split(_CHUNK):
        if shift == 0:
            chunk = chunk[(chunk >> _DIGIT_BITS) == (prefix >> _DIGIT_BITS)]
        counts += torch.bincount((chunk >> shift) & 0xFFFF, minlength=1 << _DIGIT_BITS)
    return counts


def select_elements(scores: list[Tensor], share: float, scope: str) -> list[Tensor]:
    """Masks that keep round(share * N) of all elements ("global") or of each weight's own ("layer").

    scores: (N_i,) as for `top_k`.
    """
    if scope == "layer":
        return [top_k([score], round(share * score.numel()))[0] for score in scores]
    return top_k(scores, round(share * sum(score.numel() for score in scores)))


def select_units(scores: list[Tensor], share: float, scope: str, unit_sizes: list[int]) -> list[Tensor]:
    """Masks over units (U_i,), every count a multiple of 8 (or all units of the layer).

    A layer's units are ranked and cut into blocks of 8 (a last one may be smaller). Blocks are kept in the order of
    their score per element until they hold as near to share * N elements as whole blocks can ("global"), or to each
    layer's own share: a share of the parameters, however different the units of the layers are in size. As long as
    share > 0 every layer keeps its best block, so that none is routed for nothing (both ours).

    Args:
        unit_sizes: elements of one unit of each layer.
    """
    if scope == "layer":
        pairs = zip(scores, unit_sizes, strict=True)
        return [_select_blocks([score], share, [size])[0] for score, size in pairs]
    return _select_blocks(scores, share, unit_sizes)


def _select_blocks(scores: list[Tensor], share: float, unit_sizes: list[int]) -> list[Tensor]:
    ranked = [score.sort(descending=True, stable=True) for score in scores]
    values, sizes = [], []
    for (units, _), unit_size in zip(ranked, unit_sizes, strict=True):
        blocks = units.cpu().split(UNIT_BLOCK)
        sizes.append(torch.tensor([len(block) * unit_size for block in blocks]))
        values.append(torch.stack([block.double().sum() for block in blocks]) / sizes[-1])
        if share > 0:
            values[-1][0] = torch.inf
    order = torch.cat(values).sort(descending=True, stable=True).indices
    held = torch.cat([torch.zeros(1, dtype=torch.int64), torch.cat(sizes)[order].cumsum(0)])
    count = int((held - share * held[-1]).abs().argmin())
    kept = torch.zeros(len(order), dtype=torch.bool)
    kept[order[: max(count, len(scores)) if share > 0 else count]] = True
    masks = []
    for score, (_, best), some in zip(scores, ranked, kept.split([len(v) for v in values]), strict=True):
        mask = torch.zeros_like(score, dtype=torch.bool)
        mask[best[: int(some.sum()) * UNIT_BLOCK]] = True
        masks.append(mask)
    return masks
