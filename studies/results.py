"""Results as JSON lines, a file for each task: only ever appended to, whole or not at all."""

import fcntl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from studies.cell.settings import Cell
from studies.cell.tasks import TASKS
from studies.json_lines import append_line, read_lines

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Row:
    """A finished cell: what it was, the version of the code, and all that was kept of it."""

    cell: Cell
    code: str
    values: Mapping[str, Any]


def read(folder: Path) -> list[Row]:
    """All rows of a folder, the first one of each cell and version; a torn last line is no row."""
    rows: dict[tuple[Cell, str], Row] = {}
    for values in read_lines(folder):
        cell, code = Cell.from_json(values.pop("cell")), values.pop("code")
        if cell is not None:
            rows.setdefault((cell, code), Row(cell, code, values))
    return list(rows.values())


def append(folder: Path, row: Row) -> None:
    """Add a row; what a killed process has left of another one is removed first."""
    values = {"cell": row.cell.to_json(), "code": row.code, **row.values}
    append_line(folder / f"{row.cell.task}.jsonl", values)


@contextmanager
def claim(folder: Path, cell: Cell, code: str) -> Iterator[bool]:
    """Whether no other process is at the cell until the block ends. A killed process has no claim."""
    place = folder / "claims"
    place.mkdir(parents=True, exist_ok=True)
    with (place / f"{cell.key()}-{code}").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def metric(row: Row) -> float:
    """The one number that counts on the row's task, 0 to 1."""
    return row.values["metrics"][TASKS[row.cell.task].metric]
