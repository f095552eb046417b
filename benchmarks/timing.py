"""Times of several calls side by side, and what to say about them."""

import random
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, NamedTuple

Clock = Literal["wall", "processor"]
"""Time that passes, or processor time of this process over all its threads, which other processes hardly disturb."""

_READ: dict[Clock, Callable[[], float]] = {"wall": time.perf_counter, "processor": time.process_time}


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


def ratios(seconds: Sequence[float], baseline: Sequence[float]) -> Quartiles:
    """Quartiles of the ratios within each round: what slows the machine for a while slows both and cancels out."""
    return quartiles([one / other for one, other in zip(seconds, baseline, strict=True)])


def interleaved(
    calls: Mapping[str, Callable[[], object]], rounds: int, clock: Clock = "wall", seed: int = 0
) -> dict[str, list[float]]:
    """Seconds of every call in every round, after one round that does not count.

    A round runs each call once, in a random order: no call has the quiet minutes of the machine to itself, or always
    the same predecessor, whose memory it could reuse.
    """
    read, order = _READ[clock], list(calls)
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    shuffle = random.Random(seed).shuffle
    for number in range(rounds + 1):
        shuffle(order)
        for name in order:
            started = read()
            calls[name]()
            elapsed = read() - started
            if number > 0:
                seconds[name].append(elapsed)
    return seconds
