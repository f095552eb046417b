"""Calibration batches for `padnet partition`, from a file, a folder or a data set on the Hub."""

import logging
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from transformers import PreTrainedConfig, PreTrainedTokenizerBase

from padnet_hf.cli.collators import (
    Labelled,
    image_collator,
    labelled,
    masking_collator,
    next_token_collator,
    text_collator,
)
from padnet_hf.errors import PADNetError
from padnet_hf.hub.model_card import auto_class_of
from padnet_hf.jobs.columns import Options, choose_inputs, columns_read, missing_column
from padnet_hf.jobs.label_column import as_model_labels, read_labels
from padnet_hf.jobs.loading import load_processing
from padnet_hf.jobs.padding import agree_on_padding
from padnet_hf.method.config import PartitionConfig
from padnet_hf.method.scoring import Batch
from padnet_hf.training.calibration import CalibrationBatches

if TYPE_CHECKING:
    from padnet_hf.cli.calibration_rows import Rows

logger = logging.getLogger(__name__)

_OPTIONS = Options("--input", "--label")
_CHARACTERS = 4
"""Of plain text for a token: about what English has. A row that has more tokens is cut, one that has fewer padded."""

_INPUTS = {
    "AutoModelForSequenceClassification": ("string", 2),
    "AutoModelForCausalLM": ("string", 2),
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
        label: column of labels: numbers, or names that the model knows. A language model needs none.
        max_length: tokens of a text at most, where the model has as many positions.

    Raises PADNetError if the model is of another kind, or the data lacks a column or has labels that it does not know.
    """
    auto_class = auto_class_of(config)
    if auto_class not in _INPUTS or config.problem_type == "multi_label_classification":
        raise PADNetError(
            "--data calibrates language models, and classifiers of text or images with one label for each, but "
            f"{source!r} is another {config.architectures[0]}: use padnet_hf.partition in Python with batches of your "
            "own, or --criterion magnitude, which needs none."
        )
    is_of_tokens, (kind, at_most) = auto_class.endswith("LM"), _INPUTS[auto_class]
    rows, asked = _read(data, split, kind, _CHARACTERS * max_length), None if is_of_tokens else label
    columns = _columns(rows, kind, at_most, inputs or (), asked, repr(data))
    logger.info("%s: %s", data, columns_read(rows.names, columns, asked))
    for name in columns:
        rows.check(name)
    if kind == "Image":
        collator = image_collator(_processing(source, config), columns[0])
    else:
        text = (_tokenizer(source, config), columns, min(max_length, config.longest_input(config)))
        if auto_class == "AutoModelForMaskedLM":
            collator = masking_collator(*text, partition.seed)
        else:
            collator = next_token_collator(*text) if is_of_tokens else text_collator(*text)
    items = rows.items
    if not is_of_tokens:
        labels = as_model_labels(read_labels(rows.column(label), label, repr(data)), config)
        numbers = {name: number for number, name in config.id2label.items()}
        items = Labelled(rows.items, [numbers.get(name, name) for name in labels])
        collator = labelled(collator)
    return CalibrationBatches(
        items, collator, batch_size=batch_size, num_batches=partition.num_batches, seed=partition.seed
    )


def _read(data: str, split: str, kind: str, length: int) -> "Rows":
    try:
        from padnet_hf.cli.calibration_rows import read_rows
    except ImportError as error:
        raise PADNetError("--data needs datasets, which is not installed: pip install datasets") from error
    return read_rows(data, split, kind, length)


def _columns(
    rows: "Rows", kind: str, at_most: int, named: Sequence[str], label: str | None, source: str
) -> tuple[str, ...]:
    """The columns that are inputs, and a check that the one of labels is there."""
    if len(named) > at_most:
        raise PADNetError(
            f"{source} was asked for {len(named)} columns as inputs, but the model takes "
            f"{'one or two' if at_most == 2 else 'one'}: name them with {_OPTIONS.text}."
        )
    if kind == "string" or named:
        columns = choose_inputs(rows.names, rows.is_input, named, label, source, _OPTIONS)
    else:
        columns = tuple(name for name in rows.names if rows.is_input(name))
        if len(columns) != 1:
            raise PADNetError(
                f"{source} has {len(columns)} columns of images, but the model takes one: it has {rows.names}; name it "
                f"with {_OPTIONS.text}"
            )
    if label is not None and label not in rows.names:
        raise missing_column(label, rows.names, source, _OPTIONS.label)
    return columns


def _tokenizer(source: str, config: PreTrainedConfig) -> PreTrainedTokenizerBase:
    """Raises PADNetError where a classifier could not tell the padding of a batch from text."""
    tokenizer = _processing(source, config)
    changed = agree_on_padding(tokenizer, config)
    if changed and auto_class_of(config) == "AutoModelForSequenceClassification":
        raise PADNetError(
            f"the config.json of {source!r} has no pad_token_id, without which this model classifies one text at a "
            f"time: write in what its tokenizer pads with, for instance {changed['pad_token_id']} "
            f"({tokenizer.pad_token!r})."
        )
    return tokenizer


def _processing(source: str, config: PreTrainedConfig) -> Any:
    return load_processing(config.processing_class, source)
