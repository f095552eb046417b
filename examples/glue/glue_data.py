"""Where texts and labels come from: GLUE (Hub or local parquet), your own files, or the embedded reviews."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from datasets import load_dataset

from embedded import DATA_NAME, LABEL_NAMES, embedded_splits
from glue_arguments import DataArguments
from glue_tasks import GlueTask, find_task, task_key
from padnet_hf import PADNetError
from padnet_hf.jobs.labels import check_known
from text_files import find_text_columns, read_table, take_columns, typed_labels

HUB_DATA = "nyu-mll/glue"
_FILES = {"train": "train_file", "validation": "validation_file", "test": "test_file"}


@dataclass(frozen=True)
class TextData:
    """Texts and labels of one task.

    name: for file names. metric: config_name of GlueMetric.
    splits: tables with `text`, perhaps `text_pair`, and perhaps `label`: a label's name, a float for a regression.
    label_names: None for a regression, and for files without training data, where the model has to know them (and
        whether it is a regression).
    """

    name: str
    metric: str
    splits: dict[str, pd.DataFrame]
    label_names: tuple[str, ...] | None
    eval_splits: tuple[str, ...] = ("validation",)
    test_splits: tuple[str, ...] = ("test",)

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
        known = table
        if "label" in table and task.label_names:
            known = table.assign(label=table["label"].map(lambda label: _glue_label(label, task)))
        is_test = split in task.test_splits
        if is_test:
            known = known.drop(columns="label", errors="ignore")
        tables[split] = take_columns(known, task.text_columns, "label", source, label_needed=not is_test)
        if not is_test:
            check_labels(tables[split], task.label_names or None, source)
    return TextData(task.name, task.name, tables, task.label_names or None, task.eval_splits, task.test_splits)


def _glue_label(label: object, task: GlueTask) -> object:
    """The name of a label that may be given as its number; anything else as it is."""
    if isinstance(label, int) and 0 <= label < len(task.label_names):
        return task.label_names[label]
    return label


def _from_hub(task: GlueTask, splits: list[str], cache_dir: str | None) -> dict[str, pd.DataFrame]:
    try:
        loaded = load_dataset(HUB_DATA, task.name, cache_dir=cache_dir)
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise PADNetError(
            f"{HUB_DATA} ({task.name}) cannot be loaded from the Hub: {reason}; --data_dir FOLDER reads its parquet "
            "files from a local folder, --train_file reads your own"
        ) from error
    return {split: loaded[split].to_pandas() for split in splits if split in loaded}


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
    named = tuple(name for name in (data.text_column, data.text_pair_column) if name)
    first = next(iter(raw))
    texts = find_text_columns(raw[first], named, data.label_column, files[first])
    tables = {
        split: take_columns(table, texts, data.label_column, files[split], label_needed=split != "test")
        for split, table in raw.items()
    }
    labels = {split: typed_labels(table["label"]) for split, table in tables.items() if "label" in table}
    if "train" not in labels:
        tables |= {split: tables[split].assign(label=values) for split, values in labels.items()}
        return TextData("files", "classification", tables, None)
    names = _class_names(labels["train"], files["train"])
    for split, values in labels.items():
        tables[split]["label"] = values.map(lambda label: label if names is None else str(label))
        check_labels(tables[split], names, files[split])
    return TextData("files", "regression" if names is None else "classification", tables, names)


def _class_names(labels: pd.Series, source: str) -> tuple[str, ...] | None:
    """The labels in order, None if they are scores. Raises PADNetError if there is only one."""
    if isinstance(labels.iloc[0], float):
        return None
    names = tuple(map(str, sorted(set(labels))))
    if len(names) < 2:
        raise PADNetError(f"{source} has only the label {names[0]!r}: a classification needs at least 2")
    return names


def check_labels(table: pd.DataFrame, names: tuple[str, ...] | None, source: str) -> None:
    """Raise PADNetError if a label is not one of `names`, or not a number where `names` is None."""
    if names is not None:
        check_known(table["label"], names, source)
        return
    wrong = [label for label in table["label"] if not isinstance(label, (int, float))]
    if wrong:
        raise PADNetError(
            f"{source} has the label {wrong[0]!r}, but a regression needs numbers; correct it, or train on such "
            "examples"
        )
