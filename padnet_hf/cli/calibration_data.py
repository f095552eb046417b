"""Calibration batches for `padnet partition`, from a file, a folder or a data set on the Hub."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import PreTrainedConfig

from padnet_hf.cli.collators import image_collator, labelled, masking_collator, text_collator
from padnet_hf.errors import PADNetError
from padnet_hf.hub.model_card import auto_class_of
from padnet_hf.jobs.labels import known_labels
from padnet_hf.jobs.loading import load_or_explain, load_processing
from padnet_hf.method.config import PartitionConfig
from padnet_hf.method.scoring import Batch
from padnet_hf.training.calibration import CalibrationBatches

if TYPE_CHECKING:
    from datasets import Dataset

_READERS = {".csv": "csv", ".tsv": "csv", ".json": "json", ".jsonl": "json", ".parquet": "parquet"}
_REMEDY = f"give a {', '.join(_READERS)} file, a folder of such files or of images, or a data set's name on the Hub"
_INPUTS = {
    "AutoModelForSequenceClassification": ("string", 2),
    "AutoModelForMaskedLM": ("string", 2),
    "AutoModelForImageClassification": ("Image", 1),
}
"""What columns the models that can be calibrated take, and how many at most."""


def calibration_batches(
    data: str,
    source: str,
    config: PreTrainedConfig,
    partition: PartitionConfig,
    *,
    split: str = "train",
    inputs: list[str] | None = None,
    label: str = "label",
    batch_size: int = 32,
    max_length: int = 128,
) -> Iterable[Batch]:
    """Batches of rows drawn at random, as the model at `source` takes them.

    Args:
        data: file, folder or name on the Hub.
        inputs: one or two columns of text, or one of images; None for those that look so.
        label: column of labels: numbers, or names that the model knows. A masked language model needs none.
        max_length: tokens of a text at most, where the model has as many positions.

    Raises PADNetError if the model is of another kind, or the data lacks a column or has labels that it does not know.
    """
    auto_class = auto_class_of(config)
    if auto_class not in _INPUTS or config.problem_type == "multi_label_classification":
        raise PADNetError(
            "--data calibrates masked language models, and classifiers of text or images with one label for each, but "
            f"{source!r} is another {config.architectures[0]}: use padnet_hf.partition in Python with batches of your "
            "own, or --criterion magnitude, which needs none."
        )
    is_masked, (kind, at_most) = auto_class == "AutoModelForMaskedLM", _INPUTS[auto_class]
    rows = _read(data, split)
    columns = inputs or _columns_of(rows, kind, label)
    if not 1 <= len(columns) <= at_most:
        raise PADNetError(
            f"{data!r} has {len(columns)} columns that could be inputs ({columns} of {rows.column_names}), but the "
            f"model takes {'one or two' if at_most == 2 else 'one'}: name them with --input."
        )
    for name, option in [*((name, "--input") for name in columns), *([] if is_masked else [(label, "--label")])]:
        if name not in rows.column_names:
            raise PADNetError(f"{data!r} has no column {name!r}, but {rows.column_names}: name another with {option}.")
    if kind == "Image":
        rows, collator = _undecoded(rows, columns[0]), image_collator(_processing(source, config), columns[0])
    else:
        text = (_processing(source, config), columns, min(max_length, config.longest_input(config)))
        collator = masking_collator(*text, partition.seed) if is_masked else text_collator(*text)
    if not is_masked:
        collator = labelled(collator, label, _label_reader(rows, label, config, data))
    return CalibrationBatches(
        rows, collator, batch_size=batch_size, num_batches=partition.num_batches, seed=partition.seed
    )


def _processing(source: str, config: PreTrainedConfig) -> Any:
    return load_processing(config.processing_class, source)


def _read(data: str, split: str) -> "Dataset":
    try:
        from datasets import load_dataset
        from datasets.exceptions import DatasetGenerationError
    except ImportError as error:
        raise PADNetError("--data needs datasets, which is not installed: pip install datasets") from error
    path, suffix = Path(data), Path(data).suffix.lower()
    if not path.exists() and suffix in _READERS:
        raise PADNetError(f"there is no file {data!r}: {_REMEDY}.")
    if path.is_file() and suffix not in _READERS:
        raise PADNetError(f"{data!r} has the suffix {path.suffix!r}: {_REMEDY}.")

    def load(source: str) -> "Dataset":
        try:
            if not path.is_file():
                return load_dataset(source, split=split)
            options = {"sep": "\t"} if suffix == ".tsv" else {}
            return load_dataset(_READERS[suffix], data_files=source, split=split, **options)
        except DatasetGenerationError as error:
            raise OSError(error.__cause__ or error) from error

    return load_or_explain(load, data, _REMEDY)


def _columns_of(rows: "Dataset", kind: str, label: str) -> list[str]:
    """Columns that look like inputs."""

    def is_input(feature: Any) -> bool:
        return type(feature).__name__ == kind or getattr(feature, "dtype", None) in (kind, f"large_{kind}")

    return [name for name, feature in rows.features.items() if name != label and is_input(feature)]


def _undecoded(rows: "Dataset", column: str) -> "Dataset":
    """The images as they are stored, so that a damaged one can be named."""
    from datasets import Image

    return rows.cast_column(column, Image(decode=False)) if isinstance(rows.features[column], Image) else rows


def _label_reader(rows: "Dataset", label: str, config: PreTrainedConfig, data: str) -> Callable[[Any], int | float]:
    """What turns a label of the data into the model's; all of them are looked at."""
    # A folder's names are numbered in its own order, so that the names count; unless the model has none of its own.
    names = (getattr(rows.features[label], "names", None) or []) if known_labels(config) else []
    numbers = dict(config.label2id) | {number: number for number in range(config.num_labels)}

    def class_of(value: Any) -> int | None:
        if isinstance(value, int) and 0 <= value < len(names):
            value = names[value]
        return numbers.get(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else None

    def number_of(value: Any) -> float | None:
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None

    known = f"the numbers 0 to {config.num_labels - 1} and the names {', '.join(map(repr, config.label2id))}"
    read = class_of
    if config.problem_type == "regression" or config.num_labels == 1:
        read, known = number_of, "numbers, not names"
    if type(rows.features[label]).__name__ not in ("Value", "ClassLabel"):
        raise PADNetError(f"{data!r} has {rows.features[label]} in {label!r}, but the model takes one label a row.")
    for value in rows.unique(label):
        if read(value) is None:
            raise PADNetError(f"{data!r} has the label {value!r}, but the model knows {known}: correct or remove it.")
    return read
