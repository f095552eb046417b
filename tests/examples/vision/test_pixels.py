import io
import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import ConvNextImageProcessorPil

import pixels
from image_split import ImageSplit
from padnet_hf import PADNetError
from pixels import PixelCollator, PixelSet, new_processor

LABELS = {"a": 0, "b": 1}


def noise(width: int, height: int, mode: str = "RGB", seed: int = 0) -> Image.Image:
    values = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(values).convert(mode)


def split(*images: Image.Image | bytes, labels: tuple[str, ...] | None = None) -> ImageSplit:
    def opened(index: int) -> Image.Image:
        image = images[index]
        return Image.open(io.BytesIO(image)) if isinstance(image, bytes) else image

    return ImageSplit("split", len(images), opened, lambda index: f"image {index}", labels)


def encoded(image: Image.Image, kind: str, length: float = 1.0) -> bytes:
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()[: int(length * file.tell())]


def pixel_set(images: ImageSplit, channels: int = 3, side: int = 16, **options: bool) -> PixelSet:
    return PixelSet(images, new_processor(side), channels, LABELS, progress=False, **options)


PROCESSORS = {
    "ours": new_processor(16),
    "smaller crop": ConvNextImageProcessorPil(size={"shortest_edge": 16}, crop_pct=0.875),
    "without normalisation": ConvNextImageProcessorPil(size={"shortest_edge": 16}, do_normalize=False),
    "large": ConvNextImageProcessorPil(size={"shortest_edge": 384}),
}


@pytest.mark.parametrize("name", PROCESSORS)
@pytest.mark.parametrize("kept", [True, False])
def test_evaluation_sees_what_the_saved_processor_gives(name: str, kept: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not kept:
        monkeypatch.setattr(pixels, "KEPT_BYTES", 0)
    processor = PROCESSORS[name]
    images = [noise(16, 16), noise(40, 20), noise(3, 50), noise(13, 17, "P"), noise(400, 390)]
    data = PixelSet(split(*images), processor, 3, LABELS, progress=False)
    assert (data.pixels is not None) == kept
    ours = PixelCollator(processor)([data[index] for index in range(len(data))])["pixel_values"]
    theirs = processor([image.convert("RGB") for image in images], return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(ours, theirs, rtol=0, atol=2e-6)


def test_grey_networks_take_grey_images() -> None:
    data = pixel_set(split(noise(16, 16, "L"), noise(16, 16, "1")), channels=1)
    assert data[0]["pixel_values"].shape == (1, 16, 16)
    assert "labels" not in data[0]


@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize(
    "broken",
    [
        b"no image",
        b"",
        encoded(noise(64, 64), "JPEG", 0.5),
        encoded(noise(64, 64), "PNG", 0.5),
        encoded(noise(64, 64), "PNG", 0.1)[:60],
    ],
)
def test_unreadable_images_are_named_and_left_out_only_when_asked(
    broken: bytes, kept: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    if not kept:
        monkeypatch.setattr(pixels, "KEPT_BYTES", 0)
    images = split(noise(16, 16), broken, noise(16, 16), labels=("a", "a", "b"))
    with pytest.raises(PADNetError, match=r"^image 1 is not a readable image \(.+\): replace.*--skip_unreadable"):
        pixel_set(images)
    with caplog.at_level(logging.WARNING):
        left = pixel_set(images, skip_unreadable=True)
    assert "split: left out 1 of 3 images" in caplog.text
    assert [left[index]["labels"] for index in range(len(left))] == [0, 1]
    with pytest.raises(PADNetError, match="split is empty: no image is left"):
        pixel_set(split(broken), skip_unreadable=True)


@pytest.mark.parametrize(
    ("mode", "channels", "message"),
    [
        ("L", 3, r"image 0 has 1 channel \(grey\), but the network takes 3 \(RGB\): .*--num_channels 1"),
        ("RGB", 1, r"has 3 channels \(RGB\), but the network takes 1 \(grey\): .*--num_channels 3"),
        ("RGBA", 3, r"has 4 channels .*takes 3 \(RGB\): add --convert_channels to convert such images$"),
        ("CMYK", 3, "has 4 channels"),
        ("LA", 3, "has 2 channels"),
    ],
)
def test_other_channels_are_converted_only_when_asked(mode: str, channels: int, message: str) -> None:
    with pytest.raises(PADNetError, match=message):
        pixel_set(split(noise(16, 16, mode)), channels)
    converted = pixel_set(split(noise(16, 16, mode)), channels, convert=True)
    assert converted[0]["pixel_values"].shape == (channels, 16, 16)


def test_sixteen_bits_are_refused_because_conversion_would_clip_them() -> None:
    deep = Image.fromarray(np.full((16, 16), 40_000, dtype=np.uint16))
    with pytest.raises(PADNetError, match=r"image 0 has the mode 'I;16', but 8 bits per channel are needed"):
        pixel_set(split(deep), channels=1, convert=True)


def test_turned_photographs_are_set_upright(tmp_path: Path) -> None:
    image, exif = noise(32, 16), Image.Exif()
    exif[0x0112] = 6  # the camera was turned by 90 degrees
    image.save(tmp_path / "turned.png", exif=exif)
    turned = pixel_set(split((tmp_path / "turned.png").read_bytes()))[0]["pixel_values"]
    assert torch.equal(turned, pixel_set(split(image.transpose(Image.Transpose.ROTATE_270)))[0]["pixel_values"])


def test_statistics_are_mean_and_deviation_of_each_channel() -> None:
    black, white = Image.new("RGB", (16, 16)), Image.new("RGB", (16, 16), (255, 255, 0))
    mean, deviation = pixel_set(split(black, white)).statistics()
    assert mean == [0.5, 0.5, 0.0]
    assert deviation == [0.5, 0.5, 0.001]  # never 0: it is divided by
