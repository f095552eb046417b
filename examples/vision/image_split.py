"""Images and the names of their labels, opened one by one when they are needed."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from PIL import Image

from padnet_hf import PADNetError
from padnet_hf.jobs.columns import Columns
from padnet_hf.jobs.labels import check_known

logger = logging.getLogger("run_image_classification")


@dataclass(frozen=True)
class ImageSplit:
    """One split.

    source: for messages. count: number of images.
    open: gives image i; raises what PIL raises.
    describe: says where image i comes from, a path or a row.
    labels: the label's name of every image, None where they are not known.
    columns: which were read, None where the images are files in folders.
    """

    source: str
    count: int
    open: Callable[[int], Image.Image]
    describe: Callable[[int], str]
    labels: tuple[str, ...] | None
    columns: Columns | None = None

    def __len__(self) -> int:
        return self.count

    def take(self, chosen: Sequence[int]) -> "ImageSplit":
        """The images of these numbers, in this order."""
        chosen = list(chosen)
        labels = None if self.labels is None else tuple(self.labels[index] for index in chosen)
        return replace(
            self,
            count=len(chosen),
            open=lambda index: self.open(chosen[index]),
            describe=lambda index: self.describe(chosen[index]),
            labels=labels,
        )

    def sample(self, size: int | None) -> "ImageSplit":
        """`size` of the images, drawn at random but always the same ones; all for None or if there are no more."""
        if size is None or size >= self.count:
            return self
        return self.take(_shuffled(self.count)[:size])

    def divide(self, share: float) -> tuple["ImageSplit", "ImageSplit"]:
        """`share` of the images, at least one, drawn as in `sample`, and the others."""
        numbers, size = _shuffled(self.count), max(1, round(share * self.count))
        return self.take(sorted(numbers[:size])), self.take(sorted(numbers[size:]))


def _shuffled(count: int) -> list[int]:
    """The numbers below `count` in an order that no option changes, so that runs with other seeds can be compared."""
    return torch.randperm(count, generator=torch.Generator().manual_seed(0)).tolist()


@dataclass(frozen=True)
class ImageData:
    """Splits of one data set.

    name: for file names.
    splits: `train`, `validation`, `test`, as far as they are there.
    label_names: in the order of the data; None where only the model can know them.
    flips: whether the mirror image of an image has the same label.
    """

    name: str
    splits: dict[str, ImageSplit]
    label_names: tuple[str, ...] | None
    flips: bool = True

    def with_known_labels(self, names: Sequence[str]) -> "ImageData":
        """The same with no other labels than `names`; a test split with others is left without any, which is said.

        Raises PADNetError for another label in a split to train on or to measure with.
        """
        splits = dict(self.splits)
        for name, split in self.splits.items():
            try:
                check_known(split.labels or (), names, split.source)
            except PADNetError as error:
                if name != "test":
                    raise
                logger.warning("%s. Predictions are written, but nothing is measured", error)
                splits[name] = replace(split, labels=None)
        return replace(self, splits=splits)
