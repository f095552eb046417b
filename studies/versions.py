"""Which versions of the code give the same results: those of which rows show it, never assumed."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from studies.cell.settings import PARTITIONED, Cell
from studies.cell.tasks import TASKS
from studies.results import Row, read

_OF_THE_RUN = {"processor_seconds", "device", "environment"}
"""What may differ between two runs with the same result."""


def finished(folder: Path, code: str) -> dict[Cell, Row]:
    """Rows by cell of this version of the code and of those with the same results, its own ones first."""
    rows = read(folder)
    versions = same(rows, code)
    counted = [row for row in rows if row.code in versions]
    return {row.cell: row for row in sorted(counted, key=lambda row: row.code == code)}


def same(rows: Iterable[Row], code: str) -> set[str]:
    """`code` and the versions with the same results.

    Another version has them if every cell that both have run on a device of one type came out equal to the last digit,
    and there is such a cell of every kind that the other has. Ours; it is as good as the cells shared: one of each
    kind, not all of them, and on a CPU for all devices (a GPU adds in another order each time).
    """
    versions: dict[str, dict[Cell, Row]] = {}
    for row in rows:
        versions.setdefault(row.code, {})[row.cell] = row
    found, known = {code}, versions.pop(code, {})
    while other := next((other for other, of_other in versions.items() if _agree(known, of_other)), None):
        found.add(other)
        known = versions.pop(other) | known  # the next one has to agree with this one too
    return found


def _agree(known: dict[Cell, Row], others: dict[Cell, Row]) -> bool:
    both = shared(known, others)
    covered = {_kind(cell) for cell in both} == {_kind(cell) for cell in others}
    return covered and not any(differing(known[cell], others[cell]) for cell in both)


def shared(known: Mapping[Cell, Row], others: Mapping[Cell, Row]) -> set[Cell]:
    """Cells that both have, run on devices of one type ("cpu" or "cuda")."""
    both = known.keys() & others.keys()
    return {cell for cell in both if known[cell].values["device"] == others[cell].values["device"]}


def differing(one: Row, other: Row) -> list[str]:
    """Names of the results in which two rows of a cell differ."""
    names = one.values.keys() | other.values.keys()
    return sorted(name for name in names - _OF_THE_RUN if one.values.get(name) != other.values.get(name))


def cheapest_of_each_kind(rows: Sequence[Row]) -> list[Cell]:
    """What has to be run again to show that another version gives the same results."""
    by_cost = sorted(rows, key=lambda row: row.values["processor_seconds"], reverse=True)
    return list({_kind(row.cell): row.cell for row in by_cost}.values())


def _kind(cell: Cell) -> tuple[str, ...]:
    """Cells of a kind go the same ways through the code: those of a script, a method and a granularity."""
    return (TASKS[cell.task].script, cell.method, cell.granularity if cell.method in PARTITIONED else "")
