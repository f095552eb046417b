"""Data sets with a column of images: from the Hub, or from local parquet files."""

import io
import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from datasets import ClassLabel, Dataset, DatasetDict, Features, load_dataset
from datasets import Image as ImageFeature
from datasets.exceptions import DatasetGenerationError
from PIL import Image

from image_split import ImageSplit
from padnet_hf import PADNetError
from padnet_hf.jobs.columns import columns_read
from padnet_hf.jobs.loading import load_or_explain

logger = logging.getLogger("run_image_classification")

_IMAGE_NAMES, _LABEL_NAMES = ("image", "img"), ("label", "labels")
_REMEDY = (
    "give the name of a data set on the Hub, or read local files: --data_dir FOLDER takes parquet files, --train_dir "
    "FOLDER a subfolder of images per class"
)


def from_hub(name: str, configuration: str | None, cache_dir: str | None) -> DatasetDict:
    """A data set of the Hub. Raises PADNetError if it cannot be loaded."""
    return load_or_explain(load_dataset, name, _REMEDY, name=configuration, cache_dir=cache_dir)


def from_parquet(data_dir: str, cache_dir: str | None) -> dict[str, Dataset]:
    """The parquet files of a folder, by the split that their names begin with. Raises PADNetError without any."""
    folder = Path(data_dir)
    if not folder.is_dir():
        raise PADNetError(f"--data_dir {data_dir} is not a folder: give the one that holds the parquet files")
    files = {
        split: sorted(map(str, (*folder.glob(f"{split}.parquet"), *folder.glob(f"{split}-*.parquet"))))
        for split in ("train", "validation", "test")
    }
    files = {split: paths for split, paths in files.items() if paths}
    if not files:
        found = ", ".join(sorted(file.name for file in folder.iterdir())[:8]) or "nothing"
        raise PADNetError(
            f"--data_dir {data_dir} has no split: expected train.parquet or train-*.parquet, and the like for "
            f"validation and test; found {found}"
        )
    try:
        return load_dataset("parquet", data_files=files, cache_dir=cache_dir)
    except (DatasetGenerationError, OSError, ValueError) as error:
        reason = " ".join(str(error.__cause__ or error).split())[:200]
        raise PADNetError(f"--data_dir {data_dir} cannot be read as parquet: {reason}; save the files again") from error


def read_table(
    table: Dataset, source: str, image: str | None, label: str | None, *, labelled: bool
) -> tuple[ImageSplit, tuple[str, ...] | None]:
    """A split, and its label names in order if the data set has them; `image` and `label` name the columns.

    `labelled` says that every image needs a label; without it labels that are missing are left out altogether.
    Raises PADNetError if a column is missing or unclear, or a label missing.
    """
    image = _find_column(table.features, image, _is_image, _IMAGE_NAMES, source, "image_column_name", needed=True)
    label = _find_column(table.features, label, _is_class, _LABEL_NAMES, source, "label_column_name", needed=labelled)
    labels, names = _labels(table, label, source, labelled=labelled) if label else (None, None)
    rows = table.select_columns([image])
    if isinstance(table.features[image], ImageFeature):
        rows = rows.cast_column(image, ImageFeature(decode=False))

    def opened(index: int) -> Image.Image:
        return _open(rows[index][image])

    columns = columns_read(table.column_names, (image,), label if labels else None)
    return ImageSplit(source, len(table), opened, lambda index: f"row {index + 1} of {source}", labels, columns), names


def _open(value: Any) -> Image.Image:
    """An image from what a cell holds: {bytes, path}, bytes or a path."""
    content, path = (value.get("bytes"), value.get("path")) if isinstance(value, dict) else (value, None)
    if isinstance(content, bytes):
        return Image.open(io.BytesIO(content))
    path = content or path
    if path is None:
        raise OSError("the cell is empty")
    return Image.open(path)


def _is_image(feature: Any) -> bool:
    return isinstance(feature, ImageFeature) or (isinstance(feature, (dict, Features)) and "bytes" in feature)


def _is_class(feature: Any) -> bool:
    return isinstance(feature, ClassLabel)


def _find_column(
    features: Features, named: str | None, fits: Any, usual: Iterable[str], source: str, option: str, *, needed: bool
) -> str | None:
    """The column named, else the only one that fits by its type, else the one of a usual name."""
    columns = ", ".join(map(repr, features))
    if named is not None:
        if named not in features:
            raise PADNetError(f"{source} has no column {named!r}: it has {columns}; name another with --{option}")
        return named
    fitting = [name for name, feature in features.items() if fits(feature)]
    common = [name for name in usual if name in (fitting or features)]
    if len(fitting) == 1 or common:
        return common[0] if common else fitting[0]
    if needed:
        what = "image" if option.startswith("image") else "label"
        raise PADNetError(f"{source} has no clear {what} column: it has {columns}; name it with --{option}")
    return None


def _labels(
    table: Dataset, column: str, source: str, *, labelled: bool
) -> tuple[tuple[str, ...] | None, tuple[str, ...] | None]:
    feature, values = table.features[column], table[column][:]
    known = tuple(feature.names) if isinstance(feature, ClassLabel) else None
    missing = [row for row, value in enumerate(values) if value in (None, "") or (known is not None and value < 0)]
    if missing and labelled:
        raise PADNetError(
            f"{source}, row {missing[0] + 1}: the label in column {column!r} is missing; fill it in, remove the row, "
            "or name another column with --label_column_name"
        )
    if known is not None:
        return None if missing else tuple(known[value] for value in values), known
    if values and not isinstance(values[0], (str, int, type(None))):
        error = (
            f"{source}: column {column!r} holds {values[0]!r}, where a class is needed (a string or a whole number); "
            "name another column with --label_column_name"
        )
        if labelled:
            raise PADNetError(error)
        logger.warning("%s. Predictions are written, but nothing is measured", error)
        return None, None
    names = None if missing else tuple(str(value) for value in sorted(set(values)))
    return None if missing else tuple(map(str, values)), names
