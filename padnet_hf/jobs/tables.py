"""One reader for tabular files: CSV, TSV, JSON, JSON lines and parquet. docs/data.md has its rules.

A cell is what the file says: a string in CSV and TSV, whatever it looks like; string, number, bool, None or a list in
JSON and parquet. Nothing is guessed, filled in or shifted.
"""

import codecs
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from datasets import ClassLabel, Features

from padnet_hf.errors import PADNetError
from padnet_hf.jobs.separated import parse_separated

_WIDE = {codecs.BOM_UTF32_LE: "UTF-32", codecs.BOM_UTF32_BE: "UTF-32", codecs.BOM_UTF16_LE: "UTF-16",
         codecs.BOM_UTF16_BE: "UTF-16"}  # fmt: skip
"""What a file begins with, the longer marks first: UTF-32's begin like UTF-16's."""


def read_table(path: str) -> pd.DataFrame:
    """The table in a file, by its suffix: columns of Python objects, and Categorical where `datasets` named classes.

    Raises PADNetError if the file is missing, of another kind, damaged, empty, or no rectangle of named columns.
    """
    file = Path(path)
    reader = _READERS.get(file.suffix.lower())
    if reader is None:
        raise PADNetError(f"{path!r} has the suffix {file.suffix!r}: data files end in {', '.join(SUFFIXES)}")
    if not file.is_file():
        raise PADNetError(f"{path!r} is not a file: give the path of a {', '.join(SUFFIXES)} file")
    try:
        table = reader(file)
    except (OSError, ValueError, RecursionError, pa.ArrowException) as error:  # json's and unicode's are ValueErrors
        reason = " ".join(str(error).split())[:300]
        remedy = "" if isinstance(error, PADNetError) else "; save it again as such"
        raise PADNetError(f"{path!r} cannot be read as {file.suffix}: {reason}{remedy}") from error
    if table.empty:
        raise PADNetError(f"{path!r} is empty: it needs at least 1 row under its column names")
    return table


def _decoded(file: Path) -> str:
    """The text of a file in UTF-8, with or without a byte order mark. Raises ValueError for any other encoding."""
    content = file.read_bytes()
    wide = next((name for mark, name in _WIDE.items() if content.startswith(mark)), None)
    if wide is None and b"\0" in content:
        wide = "UTF-16 or no text at all"
    if wide is not None:
        raise ValueError(f"it is {wide}, but must be UTF-8")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ValueError(f"line {line} holds the byte {content[error.start]:#04x}, but it must be UTF-8") from error


def _separated_reader(separator: str) -> Callable[[Path], pd.DataFrame]:
    def read(file: Path) -> pd.DataFrame:
        header, rows = parse_separated(_decoded(file), separator)
        return pd.DataFrame(rows, columns=header, dtype=object)

    return read


def _read_json(file: Path) -> pd.DataFrame:
    """A list of objects, an object with such a list under `data`, or one object per line."""
    rows = _json_rows(_decoded(file))
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ValueError("expected a list of objects, or one object per line")
    names = list(dict.fromkeys(name for row in rows for name in row))
    return pd.DataFrame({name: pd.Series([row.get(name) for row in rows], dtype=object) for name in names})


def _json_rows(content: str) -> Any:
    try:
        rows = json.loads(content.strip() or "[]")
        return rows.get("data", [rows]) if isinstance(rows, dict) else rows
    except json.JSONDecodeError:
        if content.lstrip().startswith("["):
            raise
    rows = []
    for number, line in enumerate(content.split("\n"), 1):  # not splitlines: a text may hold other ends of lines
        try:
            rows += [json.loads(line)] if line.strip() else []
        except json.JSONDecodeError as error:
            raise ValueError(f"line {number}, column {error.colno}: {error.msg}") from error
    return rows


def _read_parquet(file: Path) -> pd.DataFrame:
    table = pq.ParquetFile(file).read()
    names = [name for name in table.column_names if not name.startswith("__index_level_")]  # pandas' row numbers
    if len(set(names)) < len(names):
        raise ValueError(f"two of its columns have the same name: {names}")
    features = Features.from_arrow_schema(table.schema) if b"huggingface" in (table.schema.metadata or {}) else {}
    return pd.DataFrame({name: as_column(table[name].to_pylist(), features.get(name)) for name in names})


def as_column(values: list[Any], feature: Any) -> pd.Series:
    """Values as objects; those of a ClassLabel as the names of the classes, in its order, and missing if below 0."""
    if isinstance(feature, ClassLabel):
        codes = [-1 if value is None else max(value, -1) for value in values]
        return pd.Series(pd.Categorical.from_codes(codes, feature.names))
    return pd.Series(values, dtype=object)


_READERS: dict[str, Callable[[Path], pd.DataFrame]] = {
    ".csv": _separated_reader(","),
    ".tsv": _separated_reader("\t"),
    ".json": _read_json,
    ".jsonl": _read_json,
    ".parquet": _read_parquet,
}
SUFFIXES = tuple(_READERS)
