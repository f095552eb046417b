"""What is compared: grids of methods, the most important one first, each on any task."""

from collections.abc import Sequence
from typing import Any

from padnet_hf import PADNetError
from studies.cell.settings import OF_BERT, Cell
from studies.cell.tasks import TASKS
from studies.grounds import LEARNING_RATES, SEARCH_SEED, Ground

Variant = dict[str, Any]
"""Fields of Cell that make a method."""

TEXTS = ("mrpc", "cola", "stsb", "sst2")
IMAGES = ("cifar10", "fashion_mnist")
FAMILIES = {"texts": TEXTS, "images": IMAGES}
"""Tasks with the same networks, which one table can hold."""

RATIOS = (0.3, 0.5, 0.7)
FORMS = ("unit", "element")

_ONLY_TEXTS = {*OF_BERT, "router_lr", "warm_share"}
OF_ANY_DYNAMIC = {*_ONLY_TEXTS, "expert_lr"}
"""Fields of Cell that change a fully dynamic network as they change a partitioned one."""
OF_ANY = {"epochs", "train_samples"}
"""Fields of Cell that every network of a comparison must share."""

DENSE: Variant = {"method": "dense"}
DYNAMIC: Variant = {"method": "dynamic"}
DEFAULT_ROUTER: Variant = {"router_noise": False, "router_init_std": 0.05}
"""Of PAD-BERT, where a cell without it has the paper's. It must not start at zero: without noise all tokens would pass
the same experts then."""


def unique(variants: Sequence[Variant]) -> list[Variant]:
    """The first of each, in their order."""
    return [variant for number, variant in enumerate(variants) if variant not in variants[:number]]


def _headline(ratio: float) -> list[Variant]:
    pad_unit, pad_element = ({"method": "pad", "ratio": ratio, "granularity": granularity} for granularity in FORMS)
    return [DENSE, DYNAMIC, pad_unit, pad_element, {**pad_element, "method": "prune"}]


def _paper(chosen: Cell) -> list[Variant]:
    """The headline at the paper's ratio."""
    return _headline(0.5 if chosen.task in TEXTS else 0.3)


def _sizes(chosen: Cell) -> list[Variant]:
    """Other ratios, pruning by unit, whole experts less for the same stored size; with the default router, too."""
    known = _paper(chosen)
    fewer = [{"method": method, "ratio": r} for method in ("experts", "experts_used") for r in RATIOS]
    others = [variant for ratio in RATIOS for variant in _headline(ratio)[2:] if variant not in known]
    units = [{"method": "prune", "ratio": r, "granularity": "unit"} for r in RATIOS]
    unpruned = [variant for variant in [*fewer, *others] if variant["method"] != "prune"]
    return [*fewer, *others, *units, *_with_default_router(unpruned)]


def _partitioned(chosen: Cell) -> list[Variant]:
    """PAD by unit and element, with each router."""
    return unique([*_paper(chosen)[2:4], *_usual(chosen)[2:]])


def _choices(chosen: Cell) -> list[Variant]:
    """How IMP chooses; and what it is worth where the rest is missing, not static."""
    changes = [
        *({"criterion": name} for name in ("random", "magnitude")),
        {"criterion": "disagreement", "rounds": 1},  # later ones would score as if the static part were missing
        *({"rounds": rounds} for rounds in (1, 10)),
        {"batches": 64},
        {"static_branch": "keep"},
        {"scope": "layer"},
    ]
    missing = {**_paper(chosen)[4], "criterion": "random"}
    return [*({**variant, **change} for change in changes for variant in _partitioned(chosen)), missing]


def _scales(chosen: Cell) -> list[Variant]:
    """Which scale factors are learned, and how fast."""
    changes = [
        *({"scales": learned} for learned in ("fixed", "dynamic", "static")),
        {"phi_lr": 10.0},
        {"phi_lr": 100.0},
    ]
    return [{**variant, **change} for change in changes for variant in _partitioned(chosen)]


def _recipes(chosen: Cell) -> list[Variant]:
    """Why not dense: what may let a dynamic network earn its keep. Its router is the package's own."""
    changes = [
        {"moe_layers": (3, 4, 5)},
        {"warm_share": 0.5},
        {"expert_lr": 0.5},
        {"expert_lr": 2.0},
        {"router_lr": 10.0},
        {"balance_loss_coef": 0.0},
        {"balance_loss_coef": 0.1},
        {"expert_dropout": 0.4},
    ]
    return [{**variant, **change} for change in changes for variant in _usual(chosen)[1:]]


def _router(chosen: Cell) -> list[Variant]:
    """The default router, and how much of its difference to the paper's is where it starts."""
    started = [{**variant, "router_init_std": 0.05} for variant in _paper(chosen)[1:3]]
    return [*_with_default_router(_paper(chosen)[1:4]), *started]


def _with_default_router(variants: Sequence[Variant]) -> list[Variant]:
    return [{**variant, **DEFAULT_ROUTER} for variant in variants]


def _usual(chosen: Cell) -> list[Variant]:
    """The headline's networks as the package sets them up by default, without pruning; images have no router."""
    dense, *dynamic = _paper(chosen)[:4]
    return [dense, *(_with_default_router(dynamic) if chosen.task in TEXTS else dynamic)]


def _budgets(chosen: Cell) -> list[Variant]:
    """Twice as many steps, by more epochs or by more data."""
    changes: list[Variant] = [{"epochs": 2 * chosen.epochs}]
    if chosen.train_samples is not None:
        changes.append({"train_samples": 2 * chosen.train_samples})
    return [{**variant, **change} for change in changes for variant in _usual(chosen)]


def _rates(chosen: Cell) -> list[Variant]:
    """Does dense want a learning rate of its own?"""
    rates = LEARNING_RATES[TASKS[chosen.task].script]
    return [{**DENSE, "learning_rate": rate} for rate in rates if rate != chosen.learning_rate]


GRIDS = {
    "headline": _paper,
    "router": _router,
    "sizes": _sizes,
    "choices": _choices,
    "scales": _scales,
    "recipes": _recipes,
    "budgets": _budgets,
    "rates": _rates,
}
"""The search's choice for a task -> variants, those included that only texts can have."""

SEEDS = {"headline": (1, 2, 3), "router": (1, 2, 3)}
"""Where it is not (1,)."""


def variants(grid: str, chosen: Cell) -> list[Variant]:
    """The variants of a grid that the task can have, at the paper's ratio: 0.5 for texts, 0.3 for images."""
    found = GRIDS[grid](chosen)
    if chosen.task in TEXTS:
        return found
    return [one for one in found if one["method"] != "experts_used" and not _ONLY_TEXTS & set(one)]


def expand(
    grid: str, ground: Ground, tasks: Sequence[str], seeds: Sequence[int] | None, values: dict[Cell, float]
) -> list[Cell]:
    """The cells of a grid, `search` included, one whole seed after the other.

    `values`: metrics of finished cells, which say what the search has chosen.
    Raises PADNetError for the search's own seed, and where the search is not over.
    """
    if seeds and SEARCH_SEED in seeds:
        raise PADNetError(f"the seed {SEARCH_SEED} is the search's, which has chosen with it: take others")
    if grid == "search":
        return [cell for task in tasks for cell in ground.search(task)]
    chosen = {task: ground.chosen(task, values) for task in tasks}
    return [
        cell_of(chosen[task], variant, seed)
        for seed in seeds or SEEDS.get(grid, (1,))
        for task in tasks
        for variant in variants(grid, chosen[task])
    ]


def cell_of(chosen: Cell, variant: Variant, seed: int) -> Cell:
    """The cell of a method with the budget and learning rate of the search's choice."""
    return Cell(**{**chosen.changed(), **variant, "seed": seed})
