"""Calibration batches for `partition`: a few, seeded, each process its own."""

import copy
import inspect
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Self

import torch
from torch import nn
from torch.utils.data import Dataset, IterableDataset
from transformers.trainer_utils import RemoveColumnsCollator
from transformers.utils import find_labels

from padnet_hf.errors import PADNetError


class CalibrationBatches:
    """Batches drawn at random, without replacement, from a data set; the same on every iteration.

    With several processes (torch.distributed) process r of R gets batches r, r + R, ...: together they are the batches
    that a single process would get. No global random state is used or changed.

    Args:
        dataset: what the model takes, labels included, by number (map-style) or one after the other (iterable). Of an
            iterable one the first items are taken, at once: shuffle it before.
        data_collator: list of items -> keyword dictionary of tensors.
        batch_size: items in a batch; the last may be smaller.
        num_batches: over all processes; fewer if the data set is smaller.
        seed: of the draw.

    Raises PADNetError if the data set is empty or a number below 1.
    """

    def __init__(
        self,
        dataset: Dataset | Iterable[Any],
        data_collator: Callable[[list[Any]], dict[str, Any]],
        *,
        batch_size: int = 32,
        num_batches: int = 8,
        seed: int = 42,
    ) -> None:
        for name, value in (("batch_size", batch_size), ("num_batches", num_batches)):
            _check_at_least_one(name, value)
        wanted = batch_size * num_batches
        if isinstance(dataset, IterableDataset) or not hasattr(dataset, "__len__"):
            dataset = list(itertools.islice(dataset, wanted))
            drawn = list(range(len(dataset)))
        else:
            generator = torch.Generator().manual_seed(seed)
            drawn = torch.randperm(len(dataset), generator=generator)[:wanted].tolist()
        _check_at_least_one("data set size", len(dataset))
        self._dataset = dataset
        self._collator = data_collator
        self._batches = [drawn[start : start + batch_size] for start in range(0, len(drawn), batch_size)]

    def for_model(self, model: nn.Module, label_names: Sequence[str] | None = None) -> Self:
        """The same batches without the columns that the stock Trainer drops: those that the model does not take.

        Args:
            model: its `forward` names what it takes.
            label_names: what the labels are called, if not as the model's class says (`TrainingArguments.label_names`).
        """
        taken = list(inspect.signature(model.forward).parameters)
        taken += ["label", "label_ids", *(find_labels(type(model)) if label_names is None else label_names)]
        same = copy.copy(self)
        same._collator = RemoveColumnsCollator(self._collator, taken)
        return same

    def _own(self) -> Sequence[list[int]]:
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            return self._batches[torch.distributed.get_rank() :: torch.distributed.get_world_size()]
        return self._batches

    def __len__(self) -> int:
        return len(self._own())

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for indices in self._own():
            yield self._collator([self._dataset[index] for index in indices])


def _check_at_least_one(name: str, value: int) -> None:
    if value < 1:
        raise PADNetError(f"calibration {name} is {value}, but must be at least 1.")
