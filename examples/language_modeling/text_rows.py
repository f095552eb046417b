"""Rows with a column of text or chats: of a file or a data set on the Hub, in memory or streamed."""

from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from datasets import Dataset, IterableDataset, load_dataset

from clm_arguments import DataArguments
from padnet_hf import PADNetError
from padnet_hf.jobs.columns import Columns, Options, choose_inputs, columns_read, looks_like_text, missing_column
from padnet_hf.jobs.loading import load_or_explain
from padnet_hf.jobs.refusals import as_one_error
from padnet_hf.jobs.tables import read_table
from texts import Source, Writer, rows_of_text

_OPTIONS = Options("--text_column (or chats with --messages_column)", "--label_column")
_STREAMED = {".json": "json", ".jsonl": "json", ".parquet": "parquet"}
_REMEDY = "give the name of a data set on the Hub, or read your own text with --train_file"
_LOOKED_AT = 100


class Rows(NamedTuple):
    """A table: what it is called, the first of its rows, and all values of a column, anew at each call."""

    source: str
    head: pd.DataFrame
    values: Callable[[str], Iterable[Any]]


def rows_of_hub(data: DataArguments, cache_dir: str | None) -> dict[str, Rows]:
    """The splits `train` and, where there is one, `validation`. Raises PADNetError if it cannot be loaded."""
    name = data.dataset_name
    given = {"name": data.dataset_config_name, "cache_dir": cache_dir, "streaming": data.streaming}
    loaded = load_or_explain(load_dataset, name, _REMEDY, **given)
    if "train" not in loaded:
        raise PADNetError(f"{name} has no split 'train', only {', '.join(loaded)}: {_REMEDY}")
    splits = [split for split in ("train", "validation") if split in loaded]
    return {split: _rows(loaded[split], f"split {split!r} of {name}") for split in splits}


def rows_of_file(path: str, *, streaming: bool) -> Rows:
    """The table in a file, by its suffix. Raises PADNetError if it cannot be read, or not be streamed."""
    if not streaming or not Path(path).is_file():
        table = read_table(path)
        return Rows(path, table.head(_LOOKED_AT), lambda column: table[column])
    kind = _STREAMED.get(Path(path).suffix.lower())
    if kind is None:
        raise PADNetError(
            f"--streaming reads plain text, {', '.join(_STREAMED)}, but not {path!r}: save it as one of these, or "
            "leave --streaming out"
        )
    return _rows(load_or_explain(load_dataset, kind, _REMEDY, data_files=path, split="train", streaming=True), path)


def _rows(rows: Dataset | IterableDataset, source: str) -> Rows:
    with as_one_error(f"{source} cannot be read", "save it again, or give another one"):
        head = pd.DataFrame(list(islice(rows, _LOOKED_AT)), dtype=object)
    if head.empty:
        raise PADNetError(f"{source} is empty: it needs at least 1 row")
    return Rows(source, head, lambda column: (row[column] for row in rows.select_columns([column])))


def as_source(rows: Rows, data: DataArguments, write: Writer | None) -> tuple[Source, Columns]:
    """The documents in the rows, and which column they are. Raises PADNetError if that is not clear."""
    names = list(rows.head)
    if data.messages_column:
        if data.messages_column not in names:
            raise missing_column(data.messages_column, names, rows.source, "--messages_column")
        column = data.messages_column
    else:
        named = (data.text_column,) if data.text_column else ()
        found = choose_inputs(names, lambda name: looks_like_text(rows.head[name]), named, None, rows.source, _OPTIONS)
        if len(found) > 1:
            raise PADNetError(
                f"{rows.source} has the texts {' and '.join(map(repr, found))}, and a language model reads one: name "
                f"it with {_OPTIONS.text}"
            )
        column = found[0]
    values = lambda: rows.values(column)  # noqa: E731
    return rows_of_text(values, column, rows.source, write), columns_read(names, (column,), None)
