"""From image files to what the model takes, checked before anything is trained."""

import logging
import struct
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torch.utils.data import Dataset
from tqdm.auto import tqdm
from transformers import BaseImageProcessor, ConvNextImageProcessorPil

from image_split import ImageSplit
from padnet_hf import PADNetError

logger = logging.getLogger("run_image_classification")

KEPT_BYTES = 2**30
"""Splits up to this size stay decoded in memory; larger ones are decoded again whenever an image is needed."""

UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError)
"""What PIL raises for a file that is no image, or only a part of one."""

_BANDS = {"1": 1, "L": 1, "LA": 2, "P": 3, "RGB": 3, "PA": 4, "RGBA": 4, "RGBX": 4, "CMYK": 4, "YCbCr": 3, "HSV": 3}
_KINDS = {1: "grey", 2: "grey with alpha", 3: "RGB", 4: "RGB with alpha, or CMYK"}


class PixelSet(Dataset):
    """Images of one split as uint8 tensors (C, N, N), the saved processor's resizing and cropping done, with labels.

    Every image is opened once while the set is built.

    Args:
        split: images and names of their labels.
        processor: decides about size, resampling and cropping.
        channels: of the network, 1 or 3.
        label2id: the model's number for every name.
        convert: convert images of other channels, instead of raising.
        skip_unreadable: leave out images that cannot be read, instead of raising.
        progress: whether to show a progress bar.

    Raises PADNetError for an image that cannot be read or has other channels, and if no image is left.
    """

    def __init__(
        self,
        split: ImageSplit,
        processor: BaseImageProcessor,
        channels: int,
        label2id: Mapping[str, int],
        *,
        convert: bool = False,
        skip_unreadable: bool = False,
        progress: bool = True,
    ) -> None:
        self.processor, self.channels, self.convert = processor, channels, convert
        side = side_of(processor)
        stays = len(split) * channels * side * side <= KEPT_BYTES
        good, kept = [], []
        for index in tqdm(range(len(split)), desc=f"checking {split.source}", disable=not progress, leave=False):
            try:
                image = _read(split, index, draft=not stays)
            except UNREADABLE as error:
                if skip_unreadable:
                    continue
                reason = " ".join(str(error).split())[:200] or type(error).__name__
                raise PADNetError(
                    f"{split.describe(index)} is not a readable image ({reason}): replace or remove it, or add "
                    "--skip_unreadable to leave such images out"
                ) from error
            check_channels(image, channels, split.describe(index), convert=convert)
            good.append(index)
            if stays:
                kept.append(self._pixels(image))
        if len(good) < len(split):
            logger.warning("%s: left out %d of %d images", split.source, len(split) - len(good), len(split))
        if not good:
            raise PADNetError(f"{split.source} is empty: no image is left that can be read")
        self.split = split.take(good)
        self.pixels = torch.stack(kept) if stays else None
        self.labels = None if split.labels is None else [label2id[label] for label in self.split.labels]

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, index: int) -> dict[str, Any]:
        item = {"pixel_values": self._pixels(_read(self.split, index)) if self.pixels is None else self.pixels[index]}
        return item if self.labels is None else item | {"labels": self.labels[index]}

    def _pixels(self, image: Image.Image) -> Tensor:
        image = ImageOps.exif_transpose(image)  # as transformers' pipelines do
        image = image.convert("L" if self.channels == 1 else "RGB")
        array = np.asarray(image).reshape(image.height, image.width, self.channels).transpose(2, 0, 1)
        done = self.processor(
            array, do_rescale=False, do_normalize=False, input_data_format="channels_first", return_tensors="np"
        )
        return torch.from_numpy(np.ascontiguousarray(done["pixel_values"][0], dtype=np.uint8))

    def statistics(self, limit: int = 10_000) -> tuple[list[float], list[float]]:
        """Mean and standard deviation of each channel, 0 to 1, over the first `limit` images."""
        sums, squares, count = torch.zeros(self.channels).double(), torch.zeros(self.channels).double(), 0
        for index in range(min(limit, len(self))):
            values = self[index]["pixel_values"].double().flatten(1) / 255
            sums, squares, count = sums + values.sum(1), squares + values.square().sum(1), count + values.shape[1]
        mean = sums / count
        deviation = (squares / count - mean.square()).clamp(min=1e-6).sqrt()
        return [[round(value, 4) for value in values.tolist()] for values in (mean, deviation)]


def _read(split: ImageSplit, index: int, *, draft: bool = False) -> Image.Image:
    """Image `index`, all of it read; a draft may be smaller, which a JPEG can be read as in less time."""
    with split.open(index) as image:
        if draft:
            image.draft(image.mode, (1, 1))
        image.load()
    return image


def check_channels(image: Image.Image, channels: int, where: str, *, convert: bool) -> None:
    """Raise PADNetError for an image that has other channels than the network, or not 8 bits in each.

    A palette counts as RGB: it is a way of storing, and transformers' pipelines read it so.
    """
    if image.mode not in _BANDS:
        raise PADNetError(
            f"{where} has the mode {image.mode!r}, but 8 bits per channel are needed: save it as 8-bit grey or RGB"
        )
    found = _BANDS[image.mode]
    if found != channels and not convert:
        remedy = f", or --num_channels {found} for a new network" if found in (1, 3) else ""
        raise PADNetError(
            f"{where} has {found} channel{'s' if found > 1 else ''} ({_KINDS[found]}), but the network takes "
            f"{channels} ({_KINDS[channels]}): add --convert_channels to convert such images{remedy}"
        )


def side_of(processor: BaseImageProcessor) -> int:
    """Height and width of what it makes. Raises PADNetError if that is no square."""
    crops = getattr(processor, "do_center_crop", False)
    size = processor.crop_size if crops else processor.size
    sides = {size[key] for key in ("shortest_edge", "height", "width") if size.get(key)}
    if len(sides) != 1:
        raise PADNetError(f"the image processor makes images of {dict(size)}, but they must be square: mend its file")
    return sides.pop()


def resize_to(processor: BaseImageProcessor, side: int) -> None:
    """Let it make images of `side` x `side`, in the way it does so."""
    is_edge = bool(processor.size.get("shortest_edge"))
    processor.size = {"shortest_edge": side} if is_edge else {"height": side, "width": side}
    if getattr(processor, "do_center_crop", False):
        processor.crop_size = {"height": side, "width": side}


def new_processor(side: int) -> ConvNextImageProcessorPil:
    """Resizes the shorter side to `side` and cuts a square out of the middle; the crop takes nothing else away."""
    return ConvNextImageProcessorPil(size={"shortest_edge": side}, crop_pct=1.0)


class PixelCollator:
    """Batches of PixelSet items: `pixel_values` (B, C, N, N) float, scaled and normalised like the saved processor."""

    def __init__(self, processor: BaseImageProcessor) -> None:
        # Without one of the two steps the other is the identity.
        self.scale = processor.rescale_factor if processor.do_rescale else 1.0
        mean, deviation = (processor.image_mean, processor.image_std) if processor.do_normalize else (0.0, 1.0)
        self.mean, self.deviation = (torch.as_tensor(values).view(-1, 1, 1) for values in (mean, deviation))

    def __call__(self, items: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        pixels = torch.stack([item["pixel_values"] for item in items]).float() * self.scale
        batch = {"pixel_values": (pixels - self.mean) / self.deviation}
        if "labels" in items[0]:
            batch["labels"] = torch.tensor([item["labels"] for item in items])
        return batch
