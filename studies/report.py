"""Results as Markdown: a table for each grid, differences with intervals, and where it all comes from."""

from collections.abc import Sequence
from itertools import chain
from statistics import mean, stdev

from benchmarks.results import table
from studies.board import Board, title, unchanged
from studies.cell.settings import PARTITIONED
from studies.grids import DENSE, DYNAMIC, GRIDS, OF_ANY, OF_ANY_DYNAMIC, Variant, unique, variants
from studies.grounds import GROUNDS
from studies.paired import Values, difference
from studies.results import Row
from studies.routing import routed, routing_table


def sections(board: Board, prefix: str, others: Sequence[Row]) -> dict[str, str]:
    """Markdown by name, after the prefix: origin, the search's choice, each grid with rows, its `_paired`, routing."""
    measured = _measured(board)
    found = {f"{prefix}_origin": origin(board, list(chain(*measured.values())), others)}
    if board.tasks:
        found[f"{prefix}_choice"] = choice(board)
    for grid, of_grid in measured.items():
        if of_grid:
            found[f"{prefix}_{grid}"] = grid_table(board, of_grid)
            found[f"{prefix}_{grid}_paired"] = paired_table(board, of_grid)
    if with_routers := routed(board, [*measured["headline"], *measured["router"], *measured["recipes"]]):
        found[f"{prefix}_routing"] = routing_table(board, with_routers)
    return found


def board_of(rows: Sequence[Row], name: str, tasks: Sequence[str]) -> Board:
    """What is known on a ground, without the cells that are in the tables of another one."""
    others = [Board(rows, ground, tasks) for other, ground in GROUNDS.items() if other != name]
    elsewhere = {cell for other in others for cell in other.listed(list(chain(*_measured(other).values())))}
    return Board([row for row in rows if row.cell not in elsewhere], GROUNDS[name], tasks)


def _measured(board: Board) -> dict[str, list[Variant]]:
    return {grid: measured_variants(board, grid) for grid in GRIDS}


def measured_variants(board: Board, grid: str) -> list[Variant]:
    """The variants of a grid with at least one row on a task that has them."""
    every = [(task, variant) for task, chosen in board.chosen.items() for variant in variants(grid, chosen)]
    return unique([variant for task, variant in every if task in board.found(variant)])


def grid_table(board: Board, measured: Sequence[Variant]) -> str:
    """A row for each method: stored size, and mean and standard deviation over seeds on each task, in points."""
    tasks, rows = board.tasks_of(measured), []
    for variant in measured:
        values, found = board.values(variant), board.found(variant)
        sizes = [row.values["bytes"] / 1e6 for rows_of_task in found.values() for row in rows_of_task.values()]
        means = [mean(values[task].values()) for task in tasks if task in values]
        average = f"{mean(means):.1f}" if 1 < len(means) == len(tasks) else ""
        name = title(variant, next(iter(found)))
        rows.append((name, _range(sizes), *(_spread(values, task) for task in tasks), average))
    return _filled_columns(("method", "MB", *tasks, "average"), rows)


def _filled_columns(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """The table without columns in which no row has anything."""
    kept = [number for number in range(len(header)) if any(row[number] for row in rows)]
    return table([header[number] for number in kept], [[row[number] for number in kept] for row in rows])


def _range(values: Sequence[float]) -> str:
    low, high = f"{min(values):.1f}", f"{max(values):.1f}"
    return low if low == high else f"{low} to {high}"


def _spread(values: Values, task: str) -> str:
    seeds = list(values.get(task, {}).values())
    if not seeds:
        return ""
    return f"{mean(seeds):.1f}" + (f" ± {stdev(seeds):.1f} ({len(seeds)})" if len(seeds) > 1 else "")


def paired_table(board: Board, measured: Sequence[Variant]) -> str:
    """Differences in points, seed by seed, on each task and over those that both have, with bootstrap intervals."""
    tasks, rows = board.tasks_of(measured), []
    for variant in measured:
        for reference in _references(variant):
            values, others = board.values(variant), board.values(reference)
            found = difference(values, others)
            if found is not None:
                names = (title(one, board.tasks[0]) for one in (variant, reference))
                by_task = [_difference_on(task, values, others) for task in tasks]
                shared = sum(map(bool, by_task))
                average = f"{found.mean:+.1f}" if shared > 1 else ""
                average += f" (of {shared})" if 1 < shared < len(tasks) else ""
                interval = "" if found.low is None else f"{found.low:+.1f} to {found.high:+.1f}"
                rows.append((*names, *by_task, average, interval, str(found.num_pairs)))
    return _filled_columns(("method", "against", *tasks, "average", "95 %", "pairs"), rows)


def _difference_on(task: str, values: Values, others: Values) -> str:
    found = difference({task: values.get(task, {})}, others)
    return "" if found is None else f"{found.mean:+.1f}"


def _references(variant: Variant) -> list[Variant]:
    """What a method is held against.

    As it is: dense, fully dynamic and, where it has a static part, its like without one. With a change of the
    partition: itself unchanged. With a change that other networks can have too: those with the same change, and itself
    unchanged. A partition, too, against whole experts of its size, and by element against by unit.
    """
    plain = unchanged(variant)
    method_alone = unchanged(plain)
    changed = variant != plain
    changes = {name: value for name, value in variant.items() if name not in method_alone}
    if variant["method"] == "dense" or not changes.keys() <= OF_ANY | OF_ANY_DYNAMIC:
        return [plain] if changed else []
    found = [{**DENSE, **{name: changes[name] for name in OF_ANY & changes.keys()}}, {**DYNAMIC, **changes}]
    if changed:
        found.append(plain)
    elif variant["method"] == PARTITIONED[0]:
        found.append({**plain, "method": PARTITIONED[1]})
    if variant["method"] == PARTITIONED[0]:
        of_its_size = {name: value for name, value in variant.items() if name != "granularity"}
        found += [{**of_its_size, "method": "experts"}, {**variant, "granularity": "unit"}]
    return [other for other in found if other != variant]


def choice(board: Board) -> str:
    """What the search has chosen for each task."""
    rows = [(task, f"{cell.learning_rate:g}", str(cell.epochs)) for task, cell in board.chosen.items()]
    return table(("task", "learning rate", "epochs"), rows)


def origin(board: Board, measured: Sequence[Variant], others: Sequence[Row]) -> str:
    """How many rows there are, of which code, machines and versions; what is not as it should be, or is left out."""
    listed = board.listed(measured)
    rows = [row for cell, row in board.rows.items() if cell in listed]
    places = {_place(row) for row in rows}
    codes = sorted({row.code for row in rows})
    hours = sum(row.values["processor_seconds"] for row in rows) / 3600
    text = f"Cells: {len(rows)}, of code {', '.join(codes)}, {hours:.1f} processor hours. " + "; ".join(sorted(places))
    if len(codes) > 1:
        text += ". These versions give the same results, as cells of each kind that were run with both show"
    if unlisted := len(board.rows) - len(rows):
        text += f". In no table, as those of earlier budgets: {unlisted} more"
    if disordered := board.disordered():
        text += f". Cells that saw the data in another order than the rest: {len(disordered)}"
    if others:
        left = {code: sum(row.code == code for row in others) for code in sorted({row.code for row in others})}
        counts = ", ".join(f"{count} of code {code}" for code, count in left.items())
        text += f". Left out: {counts} (`--code` shows them)"
    return f"{text}."


def _place(row: Row) -> str:
    where = row.values["environment"]
    return (
        f"{where['processor']} ({row.values['device']}), torch {where['torch']}, transformers {where['transformers']}"
    )
