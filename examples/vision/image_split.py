"""Images and the names of their labels, opened one by one when they are needed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from PIL import Image


@dataclass(frozen=True)
class ImageSplit:
    """One split.

    source: for messages. count: number of images.
    open: gives image i; raises what PIL raises.
    describe: says where image i comes from, a path or a row.
    labels: the label's name of every image, None where they are not known.
    """

    source: str
    count: int
    open: Callable[[int], Image.Image]
    describe: Callable[[int], str]
    labels: tuple[str, ...] | None

    def __len__(self) -> int:
        return self.count

    def take(self, chosen: Sequence[int]) -> "ImageSplit":
        """The images of these numbers, in this order."""
        chosen = list(chosen)
        labels = None if self.labels is None else tuple(self.labels[index] for index in chosen)
        return ImageSplit(
            self.source,
            len(chosen),
            lambda index: self.open(chosen[index]),
            lambda index: self.describe(chosen[index]),
            labels,
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
