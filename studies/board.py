"""Rows of one version of the code, found by method, task and seed."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property

from padnet_hf import PADNetError
from studies.cell.arguments import fewer_copies
from studies.cell.settings import Cell
from studies.cell.tasks import TASKS
from studies.grids import DEFAULT_ROUTER, Variant, cell_of
from studies.grounds import SEARCH_SEED, Ground
from studies.paired import Values
from studies.results import Row, metric

_NAMES = {"dense": "dense", "dynamic": "fully dynamic", "pad": "PAD", "prune": "pruned"}
_FORM = ("method", "ratio", "granularity")
_STEPS = ("task", "seed", "epochs", "train_samples", "max_seq_length", "batch_size")


class Board:
    """What is known on a ground: tasks whose search is over, and their rows."""

    def __init__(self, rows: Sequence[Row], ground: Ground, tasks: Sequence[str]) -> None:
        self.rows = {row.cell: row for row in rows}
        self.searched = {cell for task in tasks for cell in ground.search(task)}
        self.chosen: dict[str, Cell] = {}
        for task in tasks:
            try:
                self.chosen[task] = ground.chosen(task, {cell: metric(row) for cell, row in self.rows.items()})
            except PADNetError:
                continue  # not measured yet

    @property
    def tasks(self) -> list[str]:
        return list(self.chosen)

    def tasks_of(self, variants: Sequence[Variant]) -> list[str]:
        """The tasks on which any of these methods was run."""
        return [task for task in self.tasks if any(task in self.found(variant) for variant in variants)]

    def disordered(self) -> list[Cell]:
        """Cells that saw the data in another order than the first one of the same task, seed and steps."""
        orders: dict[Cell, str] = {}
        found = []
        for cell, row in self.rows.items():
            steps = {name: getattr(cell, name) for name in _STEPS}
            if cell.warm_share == 0:  # the second part of a run is another one
                first = orders.setdefault(Cell(method="dense", learning_rate=0, **steps), row.values["data_order"])
                found += [cell] if row.values["data_order"] != first else []
        return found

    def listed(self, variants: Sequence[Variant]) -> set[Cell]:
        """Cells of these methods and of the search."""
        found = [rows for variant in variants for rows in self.found(variant).values()]
        return self.searched | {row.cell for rows in found for row in rows.values()}

    @cached_property
    def _by_method(self) -> dict[Cell, dict[int, Row]]:
        found: dict[Cell, dict[int, Row]] = {}
        for cell, row in self.rows.items():
            found.setdefault(replace(cell, seed=SEARCH_SEED), {})[cell.seed] = row
        return found

    def found(self, variant: Variant) -> dict[str, dict[int, Row]]:
        """Task -> seed -> row of a method, without tasks on which its change is none."""
        cells = {
            task: cell_of(chosen, variant, SEARCH_SEED)
            for task, chosen in self.chosen.items()
            if _changes_something(chosen, variant)
        }
        found = {task: _reported(self._by_method.get(cell, {})) for task, cell in cells.items()}
        return {task: rows for task, rows in found.items() if rows}

    def values(self, variant: Variant) -> Values:
        """Task -> seed -> metric in points (0 to 100) of a method."""
        return {
            task: {seed: 100 * metric(row) for seed, row in rows.items()} for task, rows in self.found(variant).items()
        }


def _changes_something(chosen: Cell, variant: Variant) -> bool:
    """Not where a task has anyway what the variant changes, say a learning rate that the search chose."""
    plain = unchanged(variant)
    return variant == plain or cell_of(chosen, variant, SEARCH_SEED) != cell_of(chosen, plain, SEARCH_SEED)


def _reported(rows: dict[int, Row]) -> dict[int, Row]:
    return {seed: row for seed, row in rows.items() if seed != SEARCH_SEED}


def title(variant: Variant, task: str) -> str:
    """A method for people: `PAD unit 0.5, rounds 10`."""
    method = variant["method"]
    if method in ("experts", "experts_used"):
        name, copies = TASKS[task].copies
        kept = fewer_copies(copies, variant["ratio"])
        noun = name.removeprefix("num_")
        text = f"{kept} {noun}" if method == "experts" else f"the {kept} most used of {copies} {noun}"
        text += f" (for {variant['ratio']})"
    else:
        text = _NAMES[method]
        if "ratio" in variant:
            text += f" {variant.get('granularity', 'element')} {variant['ratio']}"
    quiet = DEFAULT_ROUTER if DEFAULT_ROUTER.items() <= variant.items() else {}
    changes = [f"{name} {value}" for name, value in variant.items() if name not in {*_FORM, *quiet}]
    return ", ".join([text, *(["no noise"] if quiet else []), *changes])


def unchanged(variant: Variant) -> Variant:
    """The method alone, or with the default router if that is not all that the variant changes."""
    form = {name: value for name, value in variant.items() if name in _FORM}
    return {**form, **DEFAULT_ROUTER} if {**form, **DEFAULT_ROUTER}.items() < variant.items() else form
