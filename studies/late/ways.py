"""Every way that is compared: of the package, at ratios, and of others at the same bytes."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from transformers import PreTrainedModel

from padnet_hf import PartitionConfig, partition
from padnet_hf.method.layer import pad_weights
from padnet_hf.method.scoring import Batch
from studies.late import rivals
from studies.late.statistics import Statistics

Change = Callable[[PreTrainedModel, Sequence[Batch], Statistics], int]
"""Makes a fully dynamic model smaller in place, and returns the bytes that it then would take."""


@dataclass(frozen=True)
class Way:
    """name: as the tables have it. ratio: of the partition, or of the one whose bytes it may take. can_recover: whether
    training keeps what it has made."""

    name: str
    ratio: float
    change: Change
    can_recover: bool = True


NOTHING_DYNAMIC = ("mean", "usage", "fisher")
"""Static values of one dense network made of all copies."""

_SHARED, _OWN = {"static_values": "fisher"}, {"masks": "per_copy"}
_RANDOM = {"criterion": "random", "static_values": "mean"}
PARTITIONS: dict[str, dict[str, Any]] = {
    "random, element": _RANDOM,
    "random, unit": {"granularity": "unit", **_RANDOM},
    "element": _SHARED,
    "unit": {"granularity": "unit", **_SHARED},
    "element, masks per copy": {**_OWN, **_SHARED},
    "unit, others left out": {"granularity": "unit", **_OWN, "static_values": "none"},
}
"""Fields of PartitionConfig. With masks of each copy the ratio follows from the bytes, so that all store the same."""

DROPS = {
    f"drop experts by {words}{', over all layers' if over_all else ''}": {"by": by, "over_all": over_all}
    for by, words in (("usage", "usage"), ("saliency", "REAP's norm"))
    for over_all in (False, True)
}
MERGES = {f"merge experts, weighted by {words}": by for by, words in (("usage", "usage"), ("fisher", "Fisher"))}


def ways(ratios: Sequence[float]) -> Iterator[Way]:
    """All of them; at ratio 0 those that make one dense network."""
    for ratio in ratios:
        if ratio == 0:
            for values in NOTHING_DYNAMIC:
                yield Way(f"nothing dynamic, {values}", 0.0, partial(_partition, 0.0, {"static_values": values}))
            continue
        for name, fields in PARTITIONS.items():
            yield Way(name, ratio, partial(_partition, ratio, {"criterion": "fisher", **fields}))
        for name, how in DROPS.items():
            yield Way(name, ratio, _rival(partial(_drop, ratio, how)))
        for name, by in MERGES.items():
            yield Way(name, ratio, _rival(partial(_merge, ratio, by)))
        yield Way("mean and low rank", ratio, _rival(partial(_low_rank, ratio)), can_recover=False)
        yield Way("prune each expert", ratio, _rival(partial(_prune, ratio)))


def _partition(
    ratio: float, fields: dict[str, Any], model: PreTrainedModel, batches: Sequence[Batch], found: Statistics
) -> int:
    """In one round: with copies that differ it was level with three."""
    if fields.get("masks") == "per_copy":
        ratio = _own_ratio(model, ratio, is_element="granularity" not in fields)
    config = PartitionConfig(dynamic_ratio=ratio, num_batches=len(batches), num_rounds=1, **fields)
    return partition(model, batches, config, progress=False, undo="none").current.bytes


def _own_ratio(model: PreTrainedModel, ratio: float, *, is_element: bool) -> float:
    """What each copy may keep for itself in the bytes of one mask for all: by element all static values are stored,
    and a bit for each value of each copy; by unit nothing else.
    """
    copies, stored = rivals.copies_stored(model, ratio)
    return (stored - 1 - copies / 32 if is_element else stored) / copies


def _rival(change: Callable[[PreTrainedModel, Sequence[Batch], Statistics], float]) -> Change:
    """Of a change that returns the share of the experts that it would store."""

    def with_bytes(model: PreTrainedModel, batches: Sequence[Batch], found: Statistics) -> int:
        before = {share: _bytes(model, share) for share in (0.0, 1.0)}
        share = change(model, batches, found)
        return round(before[0.0] + share * (before[1.0] - before[0.0]))

    return with_bytes


def _bytes(model: PreTrainedModel, share: float) -> int:
    """Of a fully dynamic model, if it stored this share of its experts."""
    experts = sum(weight.dynamic.nbytes for weight in pad_weights(model).values())
    return round(model.partition_report().current.bytes - (1 - share) * experts)


def _drop(ratio: float, how: dict[str, Any], model: PreTrainedModel, _: Sequence[Batch], found: Statistics) -> float:
    return rivals.drop(model, found, ratio, **how)


def _merge(ratio: float, by: str, model: PreTrainedModel, _: Sequence[Batch], found: Statistics) -> float:
    return rivals.merge(model, found, ratio, by=by)


def _low_rank(ratio: float, model: PreTrainedModel, *_: Any) -> float:
    return rivals.low_rank(model, ratio)


def _prune(ratio: float, model: PreTrainedModel, batches: Sequence[Batch], _: Statistics) -> float:
    return rivals.prune_each(model, batches, ratio)
