"""The model asked for, dense, fully dynamic or to be partitioned, and its tokenizer."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import pyarrow.compute as pc
import torch
from datasets import Dataset
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from embedded import MODEL_NAME, embedded_model
from glue_arguments import DataArguments, ModelArguments, PADArguments
from glue_data import TextData
from padnet_hf import PADNetError
from padnet_hf.jobs.adapting import base_of
from padnet_hf.jobs.label_column import as_model_labels, measurable, read_labels
from padnet_hf.jobs.labels import class_fields, known_labels
from padnet_hf.jobs.loading import load_as_asked
from padnet_hf.jobs.loading import load_tokenizer as load_own_tokenizer
from padnet_hf.jobs.networks import as_network, check_network, longest_input, variant_of

SHORTEST_SEQUENCE = 8
AUTO_CLASS = "AutoModelForSequenceClassification"
_REMEDY = (
    "--model_name_or_path FOLDER reads a local folder with config.json, model.safetensors and the tokenizer's files, "
    "--tokenizer_name FOLDER one with the tokenizer's files alone"
)


def model_source(model: ModelArguments, checkpoint: str | None) -> str:
    """Where the model comes from: the checkpoint to resume, what was asked for, or the embedded default.

    Of a checkpoint that holds an adapter: its base, which was not trained.
    """
    return base_of(checkpoint) if checkpoint else model.model_name_or_path or embedded_model()


def load_config(source: str, model: ModelArguments) -> PreTrainedConfig:
    """The configuration of the model at `source`. Raises PADNetError if there is none."""
    return load_as_asked(AutoConfig.from_pretrained, base_of(source), model, _REMEDY)


def load_tokenizer(source: str, model: ModelArguments) -> PreTrainedTokenizerBase:
    """The tokenizer that belongs to the model, or the one asked for. Raises PADNetError if there is none."""
    return load_own_tokenizer(
        model.tokenizer_name or source, _REMEDY, cache_dir=model.cache_dir, revision=model.model_revision
    )


def check_model(config: PreTrainedConfig, source: str, pad: PADArguments, *, resuming: bool) -> None:
    """Raise PADNetError if the model cannot become what is asked for."""
    check_network(config, source, pad, auto_class=AUTO_CLASS, lacks="classifies no text", resuming=resuming)


def check_length(config: PreTrainedConfig, tokenizer: PreTrainedTokenizerBase, data: DataArguments) -> None:
    """Raise PADNetError if the model cannot take inputs of --max_seq_length tokens."""
    longest = min(tokenizer.model_max_length, longest_input(config, otherwise=tokenizer.model_max_length))
    if not SHORTEST_SEQUENCE <= data.max_seq_length <= longest:
        raise PADNetError(
            f"--max_seq_length is {data.max_seq_length}, but this model takes {SHORTEST_SEQUENCE} to {longest}: choose "
            "a length within"
        )


def match_labels(data: TextData, config: PreTrainedConfig) -> TextData:
    """The data with its labels as a model calls them that is not trained on them here; as it is if that knows none.

    Raises PADNetError for a label that the model does not know; in a test split they are left out instead.
    """
    own = known_labels(config)
    if not own and config.problem_type != "regression":
        return data
    splits, typed = {}, partial(as_model_labels, config=config)
    for split, table in data.splits.items():
        if "label" in table:
            texts, column = table.drop(columns="label"), data.columns.label or "label"
            source = data.sources.get(split, f"split {split!r} of {data.name}")
            if split in data.test_splits:
                labels = measurable(table["label"], column, source, own, typed)
            else:
                labels = typed(read_labels(table["label"], column, source))
            table = texts if labels is None else texts.assign(label=labels)
        splits[split] = table
    return replace(data, splits=splits)


def check_ids(config: PreTrainedConfig, sets: Mapping[str, Dataset]) -> None:
    """Raise PADNetError if the tokenizer has given numbers that the model has no embedding for."""
    known = getattr(config, "vocab_size", None)
    highest = max(pc.max(pc.list_flatten(rows.data.column("input_ids"))).as_py() or 0 for rows in sets.values())
    if known is not None and highest >= known:
        raise PADNetError(
            f"the tokenizer numbers tokens up to {highest} and more, but the model has embeddings for {known} of them: "
            "they do not belong together; give the model's own tokenizer with --tokenizer_name"
        )


def label_fields(data: TextData, config: PreTrainedConfig, *, training: bool) -> dict[str, Any]:
    """num_labels, id2label, label2id and problem_type for the model's configuration; no names for a regression.

    A model trained on the same labels keeps its own numbers for them, and one that is not trained here decides alone.
    Raises PADNetError if that one knows no labels, and there is no training data either.
    """
    own = known_labels(config)
    gives_scores = config.problem_type == "regression"
    decides = not training and bool(own or gives_scores)
    if gives_scores if decides else data.is_regression:
        return {"num_labels": 1, "problem_type": "regression"}
    names = own if decides or set(own) == set(data.label_names or ()) else data.label_names
    if not names:
        raise PADNetError(
            "the labels are not known: give --train_file, or with --model_name_or_path a model trained on them"
        )
    return class_fields(names)


def build_model(
    source: str, config: PreTrainedConfig, model: ModelArguments, pad: PADArguments, fields: dict[str, Any]
) -> PreTrainedModel:
    """The model, fully dynamic where a dense one is to be upcycled. Seed before: a new head starts at random.

    A dense model whose head is for another number of labels gets a new one.
    """
    is_dense = variant_of(config) == "dense"
    if not is_dense and config.num_labels != fields["num_labels"]:
        raise PADNetError(
            f"{source!r} has a head for {config.num_labels} labels, but the data has {fields['num_labels']}: start "
            "from its dense model"
        )
    loader = AutoModelForSequenceClassification.from_pretrained
    built = load_as_asked(
        loader, source, model, _REMEDY, dtype=torch.float32, ignore_mismatched_sizes=is_dense, **fields
    )
    origin = {} if model.model_name_or_path else {"base_model": MODEL_NAME}
    return as_network(built, pad, AUTO_CLASS, **origin)


def is_same(source: PreTrainedConfig, config: PreTrainedConfig) -> bool:
    """Whether a dynamic model is just as it was loaded, its labels too, so that an adapter can name its source.

    A dense one is taken for changed: its configuration seldom knows the labels.
    """
    same = (variant_of(source), source.id2label) == (variant_of(config), config.id2label)
    return same and variant_of(config) != "dense"
