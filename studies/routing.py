"""How evenly experts are used: does routing collapse?"""

from collections.abc import Sequence
from math import exp, log
from statistics import mean

from benchmarks.results import table
from studies.board import Board, title
from studies.grids import Variant


def routed(board: Board, variants: Sequence[Variant]) -> list[Variant]:
    """Those of the methods that have routers."""
    return [one for one in variants if any(experts_in_use(board, one, task) for task in board.tasks)]


def routing_table(board: Board, variants: Sequence[Variant]) -> str:
    """Experts in use on each task, the mean over layers and seeds; in brackets that of the layer with the fewest."""
    tasks, rows = board.tasks_of(variants), []
    for variant in variants:
        by_task = [[mean(layer) for layer in experts_in_use(board, variant, task)] for task in tasks]
        cells = (f"{mean(layers):.1f} ({min(layers):.1f})" if layers else "" for layers in by_task)
        rows.append((title(variant, tasks[0]), *cells))
    return table(("method", *tasks), rows)


def experts_in_use(board: Board, variant: Variant, task: str) -> list[list[float]]:
    """Layer -> seed -> experts in use in evaluation: exp of the entropy of their shares of the gates, 1 to E (ours)."""
    rows = board.found(variant).get(task, {}).values()
    by_seed = [[_in_use(shares) for shares in row.values["usage"].values()] for row in rows]
    return [list(layer) for layer in zip(*by_seed, strict=True)]


def _in_use(shares: Sequence[float]) -> float:
    return exp(-sum(share * log(share) for share in shares if share))
