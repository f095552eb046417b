"""Times of several calls side by side, and what to say about them."""

import random
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from benchmarks.device import Clock, seconds_of


class Quartiles(NamedTuple):
    """Half of all values lie between `lower` and `upper`, half of them below `median`."""

    lower: float
    median: float
    upper: float

    def __str__(self) -> str:
        return f"{self.median:.2f} [{self.lower:.2f}, {self.upper:.2f}]"


def quartiles(values: Sequence[float]) -> Quartiles:
    """Quartiles of at least one value."""
    if len(values) == 1:
        return Quartiles(values[0], values[0], values[0])
    return Quartiles(*statistics.quantiles(values, n=4, method="inclusive"))


def ratios(values: Sequence[float], baseline: Sequence[float]) -> Quartiles:
    """Quartiles of the ratios within each round: what slows the machine for a while slows both and cancels out."""
    return quartiles([one / other for one, other in zip(values, baseline, strict=True)])


def differences(values: Sequence[float], baseline: Sequence[float]) -> Quartiles:
    """Quartiles of the differences within each round."""
    return quartiles([one - other for one, other in zip(values, baseline, strict=True)])


def interleaved(
    calls: Mapping[str, Callable[[], object]], rounds: int, clock: Clock = "wall", warm_up: int = 1, seed: int = 0
) -> dict[str, list[float]]:
    """Seconds of every call in every round, after `warm_up` rounds that do not count.

    A round runs each call once, in a random order: no call has the quiet minutes of the machine to itself, or always
    the same predecessor, whose memory it could reuse.
    """
    order = list(calls)
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    shuffle = random.Random(seed).shuffle
    for number in range(warm_up + rounds):
        shuffle(order)
        for name in order:
            elapsed = seconds_of(calls[name], clock)
            if number >= warm_up:
                seconds[name].append(elapsed)
    return seconds
