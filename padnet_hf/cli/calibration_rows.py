"""Rows of calibration data: files of texts with our own reader, images and the Hub with `datasets`."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from datasets import Dataset, Image, ReadInstruction, load_dataset, load_dataset_builder
from datasets.exceptions import DatasetGenerationError

from padnet_hf.errors import PADNetError
from padnet_hf.jobs.columns import check_texts, looks_like_text
from padnet_hf.jobs.loading import load_or_explain
from padnet_hf.jobs.tables import SUFFIXES, as_column, read_table

TEXT = ".txt"
_REMEDY = (
    f"give a {', '.join((*SUFFIXES, TEXT))} file, a folder of such files or of images, or a data set's name on the Hub"
)


@dataclass(frozen=True)
class Rows:
    """What every source of data can say.

    items: row i as a mapping. names: of the columns. is_input: whether a column looks like what the model takes.
    column: all values of a column. check: raises PADNetError for a column in which a row is no text, if that is known.
    """

    items: Sequence[Mapping[str, Any]]
    names: list[str]
    is_input: Callable[[str], bool]
    column: Callable[[str], pd.Series]
    check: Callable[[str], None] = lambda name: None


def read_rows(data: str, split: str, kind: str, length: int) -> Rows:
    """The rows of a file, a folder, or a data set on the Hub, for a model that takes `kind`: "string" or "Image".

    Plain text is cut at ends of lines into rows of at least `length` characters, in a column `text`.

    Raises PADNetError if there is no such thing, or it cannot be read.
    """
    path = Path(data)
    suffix = path.suffix.lower()
    if not path.exists() and suffix in (*SUFFIXES, TEXT):
        raise PADNetError(f"there is no file {data!r}: {_REMEDY}.")
    if path.is_file() and suffix == TEXT:
        return _of_table(load_or_explain(lambda _: _cut(path, split, length), data, _REMEDY), data)
    if path.is_file() and suffix not in SUFFIXES:
        raise PADNetError(f"{data!r} has the suffix {path.suffix!r}: {_REMEDY}.")
    files = _files_of_splits(path, data) if kind == "string" and path.exists() else {}
    if files:
        return _of_table(load_or_explain(lambda _: _read_files(files, split), data, _REMEDY), data)
    return _of_dataset(load_or_explain(lambda _: _load(path, data, split), data, _REMEDY), kind)


def _files_of_splits(path: Path, data: str) -> dict[str, list[str]]:
    """The files that our reader takes, by split; a folder's are those that `datasets` finds. Empty for other files."""
    if path.is_file():
        return {"train": [data]}
    found = load_or_explain(load_dataset_builder, data, _REMEDY).config.data_files or {}
    files = {str(split): [str(name) for name in names] for split, names in found.items()}
    return files if all(Path(name).suffix.lower() in SUFFIXES for names in files.values() for name in names) else {}


def _read_files(files: Mapping[str, list[str]], split: str) -> pd.DataFrame:
    """The rows of a split, or of a part of one like `train[:100]`."""
    asked = re.findall(r"\w+", split)
    tables = {
        name: pd.concat(map(read_table, paths), ignore_index=True) for name, paths in files.items() if name in asked
    }
    return _part_of({name: tables.get(name, pd.DataFrame()) for name in files}, split)


def _part_of(tables: Mapping[str, pd.DataFrame], split: str) -> pd.DataFrame:
    parts = ReadInstruction.from_spec(split).to_absolute({name: len(table) for name, table in tables.items()})
    return pd.concat([tables[part.splitname][part.from_ : part.to] for part in parts], ignore_index=True)


def _cut(path: Path, split: str, length: int) -> pd.DataFrame:
    """Rows of a file of plain text."""
    texts = [""]
    for line in path.read_text(encoding="utf-8").splitlines(keepends=True):
        if len(texts[-1]) >= length:
            texts.append("")
        texts[-1] += line
    return _part_of({"train": pd.DataFrame({"text": [text for text in texts if text.strip()]}, dtype=object)}, split)


def _load(path: Path, data: str, split: str) -> Dataset:
    formats = {".csv": "csv", ".tsv": "csv", ".json": "json", ".jsonl": "json", ".parquet": "parquet"}
    try:
        if not path.is_file():
            return load_dataset(data, split=split)
        options = {"sep": "\t"} if path.suffix.lower() == ".tsv" else {}
        return load_dataset(formats[path.suffix.lower()], data_files=data, split=split, **options)
    except DatasetGenerationError as error:
        raise OSError(error.__cause__ or error) from error


def _of_table(table: pd.DataFrame, source: str) -> Rows:
    return Rows(
        table.to_dict("records"),
        list(table),
        lambda name: looks_like_text(table[name]),
        lambda name: table[name],
        lambda name: check_texts(table[name], name, repr(source)),
    )


def _of_dataset(rows: Dataset, kind: str) -> Rows:
    """Images stay as they are stored, so that a damaged one can be named."""
    features = rows.features

    def is_input(name: str) -> bool:
        feature = features[name]
        return type(feature).__name__ == kind or getattr(feature, "dtype", None) in (kind, f"large_{kind}")

    stored = rows
    for name, feature in features.items():
        if isinstance(feature, Image):
            stored = stored.cast_column(name, Image(decode=False))
    return Rows(stored, rows.column_names, is_input, lambda name: as_column(stored[name][:], features[name]))
