"""Differences between two methods on the same tasks and seeds, with bootstrap intervals."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from scipy.stats import bootstrap

Values = Mapping[str, Mapping[int, float]]
"""Task -> seed -> metric."""


class Difference(NamedTuple):
    """Mean over tasks of the mean over seeds; low and high of its interval, None with one seed on some task."""

    mean: float
    low: float | None
    high: float | None
    num_pairs: int


def difference(ours: Values, theirs: Values, confidence: float = 0.95) -> Difference | None:
    """How far `ours` is above `theirs` where both have the seed; None where they share none.

    The interval is the percentile bootstrap (Efron 1979) over seeds, each task drawn from by itself: it speaks of other
    seeds on these tasks, not of other tasks, and of few seeds it is too narrow.
    """
    shared = {task: sorted(ours[task].keys() & theirs[task].keys()) for task in ours if task in theirs}
    samples = [[ours[task][seed] - theirs[task][seed] for seed in seeds] for task, seeds in shared.items() if seeds]
    if not samples:
        return None
    low = high = None
    if min(map(len, samples)) > 1:
        generator = np.random.default_rng(0)
        interval = bootstrap(
            samples, _mean_of_means, confidence_level=confidence, method="percentile", rng=generator
        ).confidence_interval
        low, high = float(interval.low), float(interval.high)
    return Difference(float(_mean_of_means(*samples)), low, high, sum(map(len, samples)))


def _mean_of_means(*samples: np.ndarray, axis: int = -1) -> np.ndarray:
    return np.mean([np.mean(sample, axis=axis) for sample in samples], axis=0)
