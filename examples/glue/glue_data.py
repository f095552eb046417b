"""Where texts and labels come from: GLUE (Hub or local parquet), your own files, or the embedded reviews."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pandas as pd
from datasets import load_dataset

from embedded import DATA_NAME, LABEL_NAMES, embedded_splits
from glue_arguments import DataArguments
from glue_tasks import GlueTask, find_task, task_key
from padnet_hf import PADNetError
from padnet_hf.jobs.columns import (
    Columns,
    Options,
    check_texts,
    choose_inputs,
    columns_read,
    looks_like_text,
    missing_column,
)
from padnet_hf.jobs.label_column import (
    LabelColumn,
    as_classes,
    as_known_classes,
    as_scores,
    check_filled,
    class_names,
    measurable,
    read_labels,
)
from padnet_hf.jobs.tables import as_column, read_table

HUB_DATA = "nyu-mll/glue"
_PLAIN = Columns(("text",), "label")
_OPTIONS = Options("--text_column (and --text_pair_column)", "--label_column")
_FILES = {"train": "train_file", "validation": "validation_file", "test": "test_file"}


@dataclass(frozen=True)
class TextData:
    """Texts and labels of one task.

    name: for file names. metric: config_name of GlueMetric.
    splits: tables with `text`, perhaps `text_pair`, and perhaps `label`: a label's name, a float for a regression, or
        what the file says if `label_names` is None because the model has to know.
    label_names: None for a regression, and for files without training data, where the model has to know them (and
        whether it is a regression).
    columns: which were read.
    sources: the files, for messages.
    """

    name: str
    metric: str
    splits: dict[str, pd.DataFrame]
    label_names: tuple[str, ...] | None
    eval_splits: tuple[str, ...] = ("validation",)
    test_splits: tuple[str, ...] = ("test",)
    columns: Columns = _PLAIN
    sources: Mapping[str, str] = field(default_factory=dict)

    @property
    def hub_name(self) -> tuple[str, str]:
        """What the data is called on the Hub, and by people; a name of our own for other data than GLUE."""
        return (HUB_DATA, f"GLUE {self.name.upper()}") if self.metric == self.name else (self.name, self.name)

    @property
    def is_regression(self) -> bool:
        return self.metric in ("stsb", "regression")


def load_text_data(data: DataArguments, roles: Iterable[str], cache_dir: str | None = None) -> TextData:
    """The data asked for, checked. `roles` says which of train, eval and predict are needed.

    Raises PADNetError for anything missing: task, folder, file, column, split, label.
    """
    files = {split: getattr(data, option) for split, option in _FILES.items() if getattr(data, option)}
    _check_choice(data, files)
    if data.task_name is not None:
        task = find_task(data.task_name)
        loaded = _glue(task, data.data_dir, wanted_splits(task, roles), cache_dir)
    elif files:
        loaded = _own_files(data, files)
    else:
        loaded = TextData(DATA_NAME, "classification", embedded_splits(), LABEL_NAMES)
    _check_splits(loaded, roles)
    return loaded


def wanted_splits(data: TextData | GlueTask, roles: Iterable[str]) -> list[str]:
    """Names of the splits that train, eval and predict take."""
    by_role = {"train": ("train",), "eval": data.eval_splits, "predict": data.test_splits}
    return [split for role in roles for split in by_role[role]]


def _check_choice(data: DataArguments, files: dict[str, str]) -> None:
    if data.task_name and files:
        option = _FILES[next(iter(files))]
        raise PADNetError(f"--task_name {data.task_name} and --{option} exclude each other: leave one of them out")
    if data.data_dir and not data.task_name:
        raise PADNetError(f"--data_dir {data.data_dir} needs --task_name: one of the GLUE tasks, for instance sst2")
    for option in ("text_column", "text_pair_column"):
        if getattr(data, option) and not files:
            raise PADNetError(f"--{option} {getattr(data, option)} is for your own files: add --train_file")
    if data.text_pair_column and not data.text_column:
        raise PADNetError(f"--text_pair_column {data.text_pair_column} needs --text_column: name both columns")


def _check_splits(data: TextData, roles: Iterable[str]) -> None:
    for split in wanted_splits(data, roles):
        if split not in data.splits:
            option = f": add --{_FILES[split]}" if data.metric in ("classification", "regression") else ""
            if data.name == DATA_NAME:
                option = ": the embedded reviews have no more; give your own with --test_file and --train_file"
            raise PADNetError(f"{data.name} has no split {split!r}, only {', '.join(data.splits)}{option}")
        if data.splits[split].empty:
            raise PADNetError(f"split {split!r} of {data.name} is empty: it needs at least 1 row")


# GLUE


def _glue(task: GlueTask, data_dir: str | None, splits: list[str], cache_dir: str | None) -> TextData:
    raw = _from_hub(task, splits, cache_dir) if data_dir is None else _from_folder(task, data_dir, splits)
    tables = {}
    for split, table in raw.items():
        source = f"split {split!r} of {task.name}"
        tables[split] = _texts(table, task.text_columns, source, "--data_dir", may_be_empty=True)
        if split not in task.test_splits:
            labels = _labels(table, "label", source, "--data_dir")
            values = as_scores(labels) if task.is_regression else as_known_classes(labels, task.label_names)
            tables[split]["label"] = values
    columns = columns_read(next(iter(raw.values())), task.text_columns, "label")
    names = task.label_names or None
    return TextData(task.name, task.name, tables, names, task.eval_splits, task.test_splits, columns)


def _from_hub(task: GlueTask, splits: list[str], cache_dir: str | None) -> dict[str, pd.DataFrame]:
    try:
        loaded = load_dataset(HUB_DATA, task.name, cache_dir=cache_dir)
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise PADNetError(
            f"{HUB_DATA} ({task.name}) cannot be loaded from the Hub: {reason}; --data_dir FOLDER reads its parquet "
            "files from a local folder, --train_file reads your own"
        ) from error
    found = {split: loaded[split] for split in splits if split in loaded}
    return {
        split: pd.DataFrame({name: as_column(rows[name][:], feature) for name, feature in rows.features.items()})
        for split, rows in found.items()
    }


def _from_folder(task: GlueTask, data_dir: str, splits: list[str]) -> dict[str, pd.DataFrame]:
    folder = Path(data_dir)
    if not folder.is_dir():
        raise PADNetError(f"--data_dir {data_dir} is not a folder: give the one that holds the parquet files")
    own = [child for child in sorted(folder.iterdir()) if child.is_dir() and task_key(child.name) == task.name]
    folder = own[0] if own else folder
    tables = {}
    for split in splits:
        files = sorted(folder.glob(f"{split}.parquet")) + sorted(folder.glob(f"{split}-*.parquet"))
        if not files:
            found = ", ".join(sorted(file.name for file in folder.iterdir())[:8]) or "nothing"
            raise PADNetError(
                f"--data_dir {data_dir} has no {split!r} split of {task.name}: expected {split}.parquet or "
                f"{split}-*.parquet there or in a folder named {task.name}; found {found}"
            )
        tables[split] = pd.concat([read_table(str(file)) for file in files], ignore_index=True)
    return tables


# Your own files


def _own_files(data: DataArguments, files: dict[str, str]) -> TextData:
    raw = {split: read_table(path) for split, path in files.items()}
    first, label = next(iter(raw)), data.label_column
    table = raw[first]
    named = tuple(name for name in (data.text_column, data.text_pair_column) if name)
    texts = choose_inputs(list(table), lambda name: looks_like_text(table[name]), named, label, files[first], _OPTIONS)
    splits = {split: _texts(rows, texts, files[split], _OPTIONS.text) for split, rows in raw.items()}
    names, from_training = None, "train" in raw
    if from_training:
        training = _labels(raw["train"], label, files["train"], _OPTIONS.label)
        check_filled(training)
        names = class_names(training)
    typed = as_scores if names is None else partial(as_classes, names=names)
    for split, rows in raw.items():
        if split == "test" and label not in rows:
            continue
        if not from_training:  # as they are: see glue_model.match_labels
            splits[split]["label"] = _column(rows, label, files[split], _OPTIONS.label)
        elif split != "test":
            splits[split]["label"] = typed(_labels(rows, label, files[split], _OPTIONS.label))
        elif (values := measurable(rows[label], label, files[split], names or (), typed)) is not None:
            splits[split]["label"] = values
    columns = columns_read(table, texts, label if any("label" in rows for rows in splits.values()) else None)
    kind = "regression" if from_training and names is None else "classification"
    return TextData("files", kind, splits, names, columns=columns, sources=files)


def _texts(
    table: pd.DataFrame, columns: tuple[str, ...], source: str, option: str, *, may_be_empty: bool = False
) -> pd.DataFrame:
    """`text`, and `text_pair` where there are two. Raises PADNetError if a column is missing or a row has no text."""
    taken = dict(zip(("text", "text_pair"), columns, strict=False))
    for name in columns:
        check_texts(_column(table, name, source, option), name, source, may_be_empty=may_be_empty)
    return pd.DataFrame({ours: table[theirs] for ours, theirs in taken.items()}).reset_index(drop=True)


def _labels(table: pd.DataFrame, column: str, source: str, option: str) -> LabelColumn:
    return read_labels(_column(table, column, source, option), column, source)


def _column(table: pd.DataFrame, name: str, source: str, option: str) -> pd.Series:
    if name not in table:
        raise missing_column(name, table, source, option)
    return table[name]
