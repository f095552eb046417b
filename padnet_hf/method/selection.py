"""Which candidates stay dynamic: exact top-k over many score tensors, ties to the lower index.

Nothing is sorted and nothing concatenated: non-negative floats keep their order when read as integers, so the k-th
largest score is found digit by digit, in two histograms of 16 bits each.
"""

import logging
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from padnet_hf.method.packing import positions_of

logger = logging.getLogger(__name__)

UNIT_BLOCK = 8
"""Units are chosen in blocks of this many: matrix kernels need sizes that are multiples of 8."""

_MANY_TIES = 0.01
"""So large a share of equal scores at the threshold is worth a word."""

_DIGIT_BITS = 16
_CHUNK = 1 << 18
"""Scores looked at together: what is made of them stays in the processor's cache."""

_CHUNK_ON_DEVICE = 1 << 24
"""The same on other devices, which are kept busy by so many."""


def top_k(scores: Sequence[Tensor], count: int, tells: bool = True) -> list[Tensor]:
    """Masks of the `count` largest of all scores together.

    scores: float32, not negative, one tensor (N_i,) per weight, NaN not allowed. Gives bool masks (N_i,) with exactly
    `count` ones in all (0 <= count <= sum of N_i). Between equal scores the lower index wins, an earlier tensor before
    a later one. Time O(sum of N_i), memory that of the masks. `tells` whether many ties are worth a word.
    """
    if count <= 0:
        return [torch.zeros_like(score, dtype=torch.bool) for score in scores]
    threshold, num_above = 0, 0
    for shift in (_DIGIT_BITS, 0):
        histogram = sum(_histogram(score, shift, threshold).cpu() for score in scores)
        at_least = num_above + histogram.flip(0).cumsum(0).flip(0)  # how many reach this digit or a higher one
        digit = int((at_least >= count).nonzero()[-1])
        num_above = int(at_least[digit] - histogram[digit])
        threshold |= digit << shift
    masks, num_ties = [], count - num_above
    if tells:
        _tell_ties(int(histogram[digit]), num_ties, sum(score.numel() for score in scores))
    for score in scores:
        mask = torch.empty_like(score, dtype=torch.bool)
        for chunk, kept in zip(_chunks(score), _chunks(mask), strict=True):
            ranks = _ranks(chunk)
            torch.gt(ranks, threshold, out=kept)
            ties = positions_of(ranks == threshold)[:num_ties]
            kept[ties] = True
            num_ties -= len(ties)
        masks.append(mask)
    return masks


def _tell_ties(equal: int, kept: int, total: int) -> None:
    """Say so if the order of the candidates, rather than their scores, decides over many of them."""
    if 0 < kept < equal and equal > _MANY_TIES * total:
        logger.warning(
            "%.1f %% of the candidates have one and the same score at the threshold: of them the first ones stay "
            "dynamic. More calibration batches, or another criterion, tell them apart.",
            100 * equal / total,
        )


def _chunks(scores: Tensor) -> tuple[Tensor, ...]:
    return scores.split(_CHUNK if scores.device.type == "cpu" else _CHUNK_ON_DEVICE)


def _ranks(scores: Tensor) -> Tensor:
    """Scores as integers, int32, in the same order."""
    return scores.abs().view(torch.int32)  # of two zeros one has a sign


def _histogram(scores: Tensor, shift: int, prefix: int) -> Tensor:
    """Histogram (2**16,) int64 of the 16 bits above `shift` of the ranks whose higher bits are those of `prefix`."""
    counts = torch.zeros(1 << _DIGIT_BITS, dtype=torch.int64, device=scores.device)
    for chunk in _chunks(scores):
        ranks = _ranks(chunk)
        if shift == 0:
            ranks = ranks[(ranks >> _DIGIT_BITS) == (prefix >> _DIGIT_BITS)]
        counts += torch.bincount((ranks >> shift) & 0xFFFF, minlength=1 << _DIGIT_BITS)
    return counts


def select_elements(scores: Sequence[Tensor], share: float, scope: str, sizes: Sequence[int]) -> list[Tensor]:
    """Masks that keep round(share * N) of all elements ("global") or of each weight's own ("layer").

    Args:
        scores: (n_i,) as for `top_k`, of the elements that are in the running.
        sizes: N_i, elements of each weight, in the running or not.
    """
    if scope == "layer":
        pairs = zip(scores, sizes, strict=True)
        return [top_k([score], round(share * size))[0] for score, size in pairs]
    return top_k(scores, round(share * sum(sizes)))


def select_own_elements(scores: Sequence[Tensor], share: float, scope: str, sizes: Sequence[int]) -> list[Tensor]:
    """Masks (E, n_i) of the best elements of every copy, as many of each copy of a weight, by its own scores.

    As many in all as `select_elements` keeps of one copy. "global": the counts of the weights are those that keep the
    largest sum of scores.

    Args:
        scores: (E, n_i), as for `top_k`.
        sizes: N_i.
    """
    if scope == "layer":
        counts = [round(share * size) for size in sizes]
    else:
        by_rank = [sum_by_rank(score) for score in scores]
        counts = [int(mask.sum()) for mask in select_elements(by_rank, share, scope, sizes)]
    pairs = zip(scores, counts, strict=True)
    return [
        torch.stack([top_k([own], count, tells=number == 0)[0] for number, own in enumerate(score)])
        for score, count in pairs
    ]


def select_own_units(scores: Sequence[Tensor], share: float, scope: str, unit_sizes: Sequence[int]) -> list[Tensor]:
    """Masks (E, U_i) of the best units of every copy, as many of each copy of a layer, counts as of `select_units`.

    Args:
        scores: (E, U_i), a negative one is out of the running.
        unit_sizes: elements of one unit of each layer.
    """
    counts = [int(mask.sum()) for mask in select_units(list(map(sum_by_rank, scores)), share, scope, unit_sizes)]
    masks = []
    for score, count in zip(scores, counts, strict=True):
        best = score.sort(dim=-1, descending=True, stable=True).indices[:, :count]
        masks.append(torch.zeros_like(score, dtype=torch.bool).scatter_(1, best, 1))
    return masks


def sum_by_rank(scores: Tensor) -> Tensor:
    """Scores (E, n) -> the sum over copies of their best ones, of their second ones and so on, (n,)."""
    total = torch.zeros_like(scores[0])
    for own in scores:
        total += own.sort(descending=True).values
    return total


def select_units(scores: Sequence[Tensor], share: float, scope: str, unit_sizes: Sequence[int]) -> list[Tensor]:
    """Masks over units (U_i,), every count a multiple of 8 (or all units of the layer).

    A layer's units are ranked and cut into blocks of 8 (a last one may be smaller). Blocks are kept in the order of
    their score per element until they hold as near to share * N elements as whole blocks can ("global"), or to each
    layer's own share: a share of the parameters, however different the units of the layers are in size. As long as
    share > 0 every layer keeps its best block, so that none is routed for nothing (both ours).

    Args:
        scores: (U_i,), a negative one is out of the running.
        unit_sizes: elements of one unit of each layer.
    """
    if scope == "layer":
        pairs = zip(scores, unit_sizes, strict=True)
        return [_select_blocks([score], share, [size])[0] for score, size in pairs]
    return _select_blocks(scores, share, unit_sizes)


def _select_blocks(scores: Sequence[Tensor], share: float, unit_sizes: Sequence[int]) -> list[Tensor]:
    ranked = [score.sort(descending=True, stable=True) for score in scores]
    values, sizes = [], []
    for (units, _), unit_size in zip(ranked, unit_sizes, strict=True):
        blocks = units.cpu().split(UNIT_BLOCK)
        sizes.append(torch.tensor([len(block) * unit_size for block in blocks], device="cpu"))
        values.append(torch.stack([block.double().sum() for block in blocks]) / sizes[-1])
        if share > 0:
            values[-1][0] = torch.inf
    order = torch.cat(values).sort(descending=True, stable=True).indices
    held = F.pad(torch.cat(sizes)[order].cumsum(0), (1, 0))
    count = int((held - share * held[-1]).abs().argmin())
    kept = torch.zeros_like(order, dtype=torch.bool)
    chosen = order[: max(count, len(scores)) if share > 0 else count]
    kept[chosen] = True
    if len(chosen):
        equal = torch.cat(values) == torch.cat(values)[chosen[-1]]
        _tell_ties(int(equal.sum()), int(equal[chosen].sum()), len(order))
    masks = []
    for score, (_, best), some in zip(scores, ranked, kept.split([len(v) for v in values]), strict=True):
        mask = torch.zeros_like(score, dtype=torch.bool)
        mask[best[: int(some.sum()) * UNIT_BLOCK]] = True
        masks.append(mask)
    return masks
