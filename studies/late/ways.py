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
PARTITIONS: dict[str, dict[str, Any]] = {
    "random, element": {"criterion": "random", "static_values": "mean"},
    "random, unit": {"criterion": "random", "static_values": "mean", "granularity": "unit"},
    "element": _SHARED,
    "unit": {"granularity": "unit", **_SHARED},
    "element, masks per copy": {**_OWN, **_SHARED},
    "unit, others left out": {"granularity": "unit", **_OWN, "static_values": "none"},
}
"""Fields of PartitionConfig."""

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
    config = PartitionConfig(dynamic_ratio=ratio, num_batches=len(batches), num_rounds=1, **fields)
    return partition(model, batches, config, progress=False, undo="none").current.bytes


def _rival(change: Callable[[PreTrainedModel, Sequence[Batch], Statistics], float]) -> Change:
    """Of a change that returns the share of the experts that it would store."""

    def with_bytes(model: PreTrainedModel, batches: Sequence[Batch], found: Statistics) -> int:
        experts = sum(weight.dynamic.nbytes for weight in pad_weights(model).values())
        whole = model.partition_report().current.bytes
        return round(whole - (1 - change(model, batches, found)) * experts)

    return with_bytes


def _drop(ratio: float, how: dict[str, Any], model: PreTrainedModel, _: Sequence[Batch], found: Statistics) -> float:
    return rivals.drop(model, found, ratio, **how)


def _merge(ratio: float, by: str, model: PreTrainedModel, _: Sequence[Batch], found: Statistics) -> float:
    return rivals.merge(model, found, ratio, by=by)


def _low_rank(ratio: float, model: PreTrainedModel, *_: Any) -> float:
    return rivals.low_rank(model, ratio)


def _prune(ratio: float, model: PreTrainedModel, batches: Sequence[Batch], _: Statistics) -> float:
    return rivals.prune_each(model, batches, ratio)
