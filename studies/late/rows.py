"""Rows of results: one JSON line for each way on each network, appended as soon as it is measured."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from studies.json_lines import append_line, read_lines

RESULTS = Path(__file__).parents[1] / "results" / "late"


@dataclass(frozen=True)
class Row:
    """steps: of training afterwards. bytes: of the whole model. code: version of the code."""

    task: str
    seed: int
    way: str
    ratio: float
    steps: int
    metric: float
    loss: float
    bytes: int
    code: str

    @property
    def key(self) -> tuple[str, int, str, float, int, str]:
        """What it is of."""
        return self.task, self.seed, self.way, self.ratio, self.steps, self.code


def read(folder: Path) -> dict[tuple, Row]:
    """All rows by key; a torn last line is none."""
    rows = (Row(**values) for values in read_lines(folder))
    return {row.key: row for row in rows}


def append(folder: Path, row: Row) -> None:
    """Add it to the file of its task and seed; what a killed process left torn there is cut off."""
    append_line(folder / f"{row.task}-{row.seed}.jsonl", asdict(row))


def versions(rows: Iterable[Row]) -> list[str]:
    """Versions of the code, the one with the most rows first."""
    return [code for code, _ in Counter(row.code for row in rows).most_common()]
