"""Calibration batches for `padnet partition`, from a file, a folder or a data set on the Hub."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import (
    AutoImageProcessor,
    AutoTokenizer,
    DataCollatorForLanguageModeling,
    PreTrainedConfig,
    PreTrainedTokenizerBase,
)

from padnet_hf.errors import PADNetError
from padnet_hf.hub.model_card import auto_class_of
from padnet_hf.jobs.loading import load_or_explain
from padnet_hf.partition.config import PartitionConfig
from padnet_hf.partition.scoring import Batch
from padnet_hf.training.calibration import CalibrationBatches

if TYPE_CHECKING:
    from datasets import Dataset

_READERS = {".csv": "csv", ".tsv": "csv", ".json": "json", ".jsonl": "json", ".parquet": "parquet"}
_REMEDY = f"give a {', '.join(_READERS)} file, a folder of such files or of images, or a data set's name on the Hub"
_INPUTS = {
    "AutoModelForSequenceClassification": "string",
    "AutoModelForMaskedLM": "string",
    "AutoModelForImageClassification": "Image",
}
"""What columns the models that can be calibrated take."""

_Collator = Callable[[list[dict[str, Any]]], dict[str, Any]]


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

    Raises PADNetError if the model is of another kind, or the data lacks a column or has labels that it does not know.
    """
    auto_class = auto_class_of(config)
    kind = _INPUTS.get(auto_class)
    if kind is None:
        raise PADNetError(
            f"--data calibrates classifiers of text or images and masked language models, but {source!r} is a "
            f"{config.architectures[0]}: use padnet_hf.partition in Python with batches of your own, or --criterion "
            "magnitude, which needs none."
        )
    rows = _read(data, split)
    columns = inputs or _columns_of(rows, kind, label, data)
    is_masked = auto_class == "AutoModelForMaskedLM"
    for name in columns if is_masked else [*columns, label]:
        if name not in rows.column_names:
            option = "--label" if name == label else "--input"
            raise PADNetError(f"{data!r} has no column {name!r}, but {rows.column_names}: name another with {option}.")
    if is_masked:
        collator = _masking_collator(source, columns, max_length, partition.seed)
    else:
        collate = (_text_collator if kind == "string" else _image_collator)(source, columns, max_length)
        collator = _labelled(collate, label, _label_reader(rows, label, config, data))
    return CalibrationBatches(
        rows, collator, batch_size=batch_size, num_batches=partition.num_batches, seed=partition.seed
    )


def _labelled(collate: _Collator, label: str, number: Callable[[Any], int | float]) -> _Collator:
    def collator(items: list[dict[str, Any]]) -> dict[str, Any]:
        return {**collate(items), "labels": torch.tensor([number(item[label]) for item in items])}

    return collator


def _read(data: str, split: str) -> "Dataset":
    try:
        from datasets import load_dataset
    except ImportError as error:
        raise PADNetError("--data needs datasets, which is not installed: pip install datasets") from error
    path = Path(data)
    if not path.is_file():
        return load_or_explain(load_dataset, data, _REMEDY, split=split)
    if path.suffix not in _READERS:
        raise PADNetError(f"{data!r} has the suffix {path.suffix!r}: {_REMEDY}.")
    options = {"sep": "\t"} if path.suffix == ".tsv" else {}
    return load_or_explain(load_dataset, _READERS[path.suffix], _REMEDY, data_files=data, split="train", **options)


def _columns_of(rows: "Dataset", kind: str, label: str, data: str) -> list[str]:
    def is_input(feature: Any) -> bool:
        return type(feature).__name__ == kind or getattr(feature, "dtype", None) in (kind, f"large_{kind}")

    found = [name for name, feature in rows.features.items() if name != label and is_input(feature)]
    if len(found) not in ((1, 2) if kind == "string" else (1,)):
        raise PADNetError(
            f"{data!r} has {len(found)} columns that could be inputs ({found} of {rows.column_names}): name them with "
            "--input."
        )
    return found


def _label_reader(rows: "Dataset", label: str, config: PreTrainedConfig, data: str) -> Callable[[Any], int | float]:
    if config.problem_type == "regression" or config.num_labels == 1:
        return float

    def number(value: Any) -> int:
        known = config.label2id.get(value, value) if isinstance(value, str) else value
        if isinstance(known, bool) or not isinstance(known, int) or not 0 <= known < config.num_labels:
            raise PADNetError(
                f"{data!r} has the label {value!r}, but the model knows the numbers 0 to {config.num_labels - 1} and "
                f"the names {', '.join(map(repr, config.label2id))}."
            )
        return known

    for value in rows.unique(label):
        number(value)
    return number


def _tokenizer(source: str) -> PreTrainedTokenizerBase:
    return load_or_explain(AutoTokenizer.from_pretrained, source, "save a tokenizer beside the model")


def _text_collator(source: str, columns: list[str], max_length: int) -> _Collator:
    tokenizer = _tokenizer(source)

    def collate(items: list[dict[str, Any]]) -> dict[str, Any]:
        texts = ([item[name] for item in items] for name in columns)
        return tokenizer(*texts, padding=True, truncation=True, max_length=max_length, return_tensors="pt")

    return collate


def _masking_collator(source: str, columns: list[str], max_length: int, seed: int) -> _Collator:
    tokenizer = _tokenizer(source)
    mask = DataCollatorForLanguageModeling(tokenizer, seed=seed)

    def collate(items: list[dict[str, Any]]) -> dict[str, Any]:
        texts = ([item[name] for name in columns] for item in items)
        return mask([tokenizer(*parts, truncation=True, max_length=max_length) for parts in texts])

    return collate


def _image_collator(source: str, columns: list[str], max_length: int) -> _Collator:
    processor = load_or_explain(AutoImageProcessor.from_pretrained, source, "save an image processor beside the model")

    def collate(items: list[dict[str, Any]]) -> dict[str, Any]:
        return processor([item[columns[0]].convert("RGB") for item in items], return_tensors="pt")

    return collate
