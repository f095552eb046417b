"""Your own CSV, JSON or parquet files as tables with the columns `text`, perhaps `text_pair`, and `label`."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from glue_tasks import TASKS
from padnet_hf import PADNetError

_KNOWN_TEXT_COLUMNS = (
    *dict.fromkeys(task.text_columns for task in TASKS.values() if len(task.text_columns) == 2),
    ("text", "text_pair"),
    ("sentence",),
    ("text",),
)


def read_table(path: str) -> pd.DataFrame:
    """The table in a file, by its suffix; CSV cells stay strings. Raises PADNetError if that is not possible."""
    file = Path(path)
    if file.suffix not in _READERS:
        raise PADNetError(f"{path!r} has the suffix {file.suffix!r}: data files end in {', '.join(_READERS)}")
    if not file.is_file():
        raise PADNetError(f"{path!r} is not a file: give the path of a {', '.join(_READERS)} file")
    try:
        table = _READERS[file.suffix](file)
    except (OSError, ValueError) as error:  # pandas', pyarrow's, json's and unicode errors are ValueErrors
        reason = " ".join(str(error).split())[:200]
        raise PADNetError(f"{path!r} cannot be read as {file.suffix}: {reason}; save it again as such") from error
    if table.empty:
        raise PADNetError(f"{path!r} is empty: it needs at least 1 row under its column names")
    return table


def _read_json(file: Path) -> pd.DataFrame:
    """A list of objects, an object with such a list under `data`, or one object per line."""
    content = file.read_text(encoding="utf-8")
    try:
        rows = json.loads(content or "[]")
        rows = rows.get("data", [rows]) if isinstance(rows, dict) else rows
    except json.JSONDecodeError:
        rows = [json.loads(line) for line in content.splitlines() if line.strip()]
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ValueError("expected a list of objects, or one object per line")
    return pd.DataFrame(rows, dtype=object)


def _csv_reader(separator: str) -> Callable[[Path], pd.DataFrame]:
    def read(file: Path) -> pd.DataFrame:
        return pd.read_csv(file, sep=separator, dtype=str, keep_default_na=False, encoding="utf-8")

    return read


_READERS: dict[str, Callable[[Path], pd.DataFrame]] = {
    ".csv": _csv_reader(","),
    ".tsv": _csv_reader("\t"),
    ".json": _read_json,
    ".jsonl": _read_json,
    ".parquet": pd.read_parquet,
}


def find_text_columns(table: pd.DataFrame, named: tuple[str, ...], label_column: str, source: str) -> tuple[str, ...]:
    """The one or two text columns: those named, those of known names, or the only ones that hold text.

    Raises PADNetError if a named one is missing, or if it is not clear which are meant.
    """
    if named:
        missing = [name for name in named if name not in table]
        if missing:
            raise PADNetError(
                f"{source} has no column {missing[0]!r}: it has {_list(table)}; name one with --text_column or "
                "--text_pair_column"
            )
        return named
    found = [name for name in table if name != label_column and _is_text(table[name])]
    for known in _KNOWN_TEXT_COLUMNS:
        if set(known) <= set(found):
            return known
    if len(found) not in (1, 2):
        raise PADNetError(
            f"{source} has {len(found)} columns of text, needed are 1 or 2: it has {_list(table)}; name them with "
            "--text_column and --text_pair_column"
        )
    return tuple(found)


def _is_text(column: pd.Series) -> bool:
    """Strings that are not all numbers."""
    return bool(column.map(_is_string).all() and pd.to_numeric(column, errors="coerce").isna().any())


def take_columns(
    table: pd.DataFrame, texts: tuple[str, ...], label: str, source: str, *, label_needed: bool
) -> pd.DataFrame:
    """`text`, `text_pair` where there are two, and `label` where there is one, under these names.

    Raises PADNetError if a column is missing, or a row has no text or no label.
    """
    columns = dict(zip(("text", "text_pair"), texts, strict=False))
    if label_needed or (label in table and table[label].map(_is_filled).any()):
        columns["label"] = label
    for theirs in columns.values():
        if theirs not in table:
            option = "--label_column" if theirs == label else "--text_column"
            raise PADNetError(f"{source} has no column {theirs!r}: it has {_list(table)}; name another with {option}")
    taken = table[list(columns.values())].set_axis(list(columns), axis=1).reset_index(drop=True)
    for ours, theirs in columns.items():
        good = taken[ours].map(_is_filled if ours == "label" else _is_string).astype(bool)
        if not good.all():
            row = int(good.idxmin())
            raise PADNetError(
                f"{source}, row {row + 1}: column {theirs!r} holds {taken[ours][row]!r}, where a "
                f"{'label' if ours == 'label' else 'text'} is needed; fill it in or remove the row"
            )
    return taken


def _is_string(value: object) -> bool:
    return isinstance(value, str)


def _is_filled(value: object) -> bool:
    return not (value == "" or pd.isna(value))


def typed_labels(labels: pd.Series) -> pd.Series:
    """Whole numbers as int, other numbers as float (a regression), everything else as str; also out of strings."""
    values = labels.tolist()
    for kind in (int, float):
        converted = [_as_number(value, kind) for value in values]
        if None not in converted:
            return pd.Series(converted, index=labels.index, dtype=object)
    return labels.map(str)


def _as_number(value: object, kind: type) -> int | float | None:
    """The value as an int or a finite float, None where it is not one."""
    if isinstance(value, bool) or not isinstance(value, (int, kind, str)):
        return None
    try:
        number = kind(value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _list(table: pd.DataFrame) -> str:
    return ", ".join(repr(str(name)) for name in table.columns)
