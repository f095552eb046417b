"""Rows of results: one JSON line for each way on each network, appended as soon as it is measured."""

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

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
    lines = (line for path in sorted(folder.glob("*.jsonl")) for line in path.read_bytes().splitlines(keepends=True))
    rows = (Row(**json.loads(line)) for line in lines if line.endswith(b"\n"))
    return {row.key: row for row in rows}


def append(folder: Path, row: Row) -> None:
    """Add it to the file of its task and seed, which one process writes; what a killed one left torn is cut off."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{row.task}-{row.seed}.jsonl").open("a+b") as file:
        file.seek(0)
        file.truncate(file.read().rfind(b"\n") + 1)
        file.write(json.dumps(asdict(row)).encode() + b"\n")


def versions(rows: Iterable[Row]) -> list[str]:
    """Versions of the code, the one with the most rows first."""
    return [code for code, _ in Counter(row.code for row in rows).most_common()]
