"""Calibration batches for `partition`: a few, seeded, each process its own."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch.utils.data import Dataset

from padnet_hf.errors import PADNetError


class CalibrationBatches:
    """Batches drawn at random, without replacement, from a data set; the same on every iteration.

    With several processes (torch.distributed) process r of R gets batches r, r + R, ...: together they are the batches
    that a single process would get. No global random state is used or changed.

    Args:
        dataset: map-style, with what the model takes, labels included.
        data_collator: list of items -> keyword dictionary of tensors.
        batch_size: items in a batch; the last may be smaller.
        num_batches: over all processes; fewer if the data set is smaller.
        seed: of the draw.

    Raises PADNetError if the data set is empty or a number below 1.
    """

    def __init__(
        self,
        dataset: Dataset,
        data_collator: Callable[[list[Any]], dict[str, Any]],
        *,
        batch_size: int = 32,
        num_batches: int = 8,
        seed: int = 42,
    ) -> None:
        for name, value in (("batch_size", batch_size), ("num_batches", num_batches), ("data set size", len(dataset))):
            if value < 1:
                raise PADNetError(f"calibration {name} is {value}, but must be at least 1.")
        generator = torch.Generator().manual_seed(seed)
        drawn = torch.randperm(len(dataset), generator=generator)[: batch_size * num_batches].tolist()
        self._dataset = dataset
        self._collator = data_collator
        self._batches = [drawn[start : start + batch_size] for start in range(0, len(drawn), batch_size)]

    def _own(self) -> Sequence[list[int]]:
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            return self._batches[torch.distributed.get_rank() :: torch.distributed.get_world_size()]
        return self._batches

    def __len__(self) -> int:
        return len(self._own())

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for indices in self._own():
            yield self._collator([self._dataset[index] for index in indices])
