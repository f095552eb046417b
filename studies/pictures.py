"""Pictures of the results: metric against stored size, dynamic ratio and training loss, and what IMP chose by layer."""

from collections.abc import Callable, Mapping, Sequence
from itertools import product
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from studies.board import Board, title
from studies.cell.tasks import TASKS
from studies.grids import DEFAULT_ROUTER, DENSE, DYNAMIC, FORMS, RATIOS, Variant, unique
from studies.report import measured_variants

_COLORS = {
    "dense": "#444444", "dynamic": "#7570b3", "pad": "#d95f02", "prune": "#1b9e77", "experts": "#e6ab02",
    "experts_used": "#a6761d",
}  # fmt: skip
_OF_COPIES = {"experts": "fewer copies", "experts_used": "most used copies"}
Panel = Callable[[Axes, Board, str], None]
"""Draws what is known of one task."""

_STYLES = {"unit": ("o", "-"), "element": ("s", "--")}


def draw_all(board: Board, folder: Path, prefix: str) -> list[Path]:
    """Draw what there is, if the search is over for any task; the paths of the pictures.

    Of epochs there is one where every epoch was evaluated on all tasks.
    """
    pictures: dict[str, Panel] = {"size": _size, "ratio": _ratio, "layers": _layers}
    if all(row.values["metrics_by_epoch"] for rows in board.found(DENSE).values() for row in rows.values()):
        pictures["epochs"] = _epochs
    return [_draw(panel, board, folder / f"{prefix}_{name}.png") for name, panel in pictures.items() if board.tasks]


def _draw(panel: Panel, board: Board, path: Path) -> Path:
    """A panel for each task."""
    figure = Figure(figsize=(3.4 * len(board.tasks) + 0.6, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(board.tasks), squeeze=False)[0]
    for axes, task in zip(panels, board.tasks, strict=True):
        panel(axes, board, task)
        axes.set_title(task, fontsize=10)
        axes.grid(linewidth=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    handles = dict(item for axes in panels for item in zip(*axes.get_legend_handles_labels()[::-1], strict=True))
    figure.legend(
        handles.values(),
        handles.keys(),
        loc="outside lower left",
        ncols=2 * len(board.tasks),
        frameon=False,
        fontsize=8,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)
    return path


def _size(axes: Axes, board: Board, task: str) -> None:
    """Every method of these grids as a point, with its standard deviation over seeds."""
    for variant in unique([*_with_both_routers(board), *measured_variants(board, "sizes")]):
        rows = board.found(variant).get(task)
        if rows:
            megabytes = mean(row.values["bytes"] for row in rows.values()) / 1e6
            apart = 0.02 * (variant.get("granularity") == "element") + 0.04 * ("router_noise" in variant)
            _point(axes, board, task, variant, (1 + apart) * megabytes)
    axes.set(xlabel="stored, MB (equal ones drawn apart)", ylabel="metric, points")


def _with_both_routers(board: Board) -> list[Variant]:
    """The headline's methods, and those that have the default router instead of the paper's."""
    quiet = [variant for variant in measured_variants(board, "router") if "router_noise" in variant]
    return [*measured_variants(board, "headline"), *quiet]


def _ratio(axes: Axes, board: Board, task: str) -> None:
    """Partitioned and pruned networks over the dynamic ratio, between dense (0) and fully dynamic (1)."""
    for place, variant in ((0, DENSE), (0.99, DYNAMIC), (1.01, {**DYNAMIC, **DEFAULT_ROUTER})):
        if task in board.found(variant):
            _point(axes, board, task, variant, place)
    lines = (("pad", {}), ("pad", DEFAULT_ROUTER), ("prune", {}))
    for number, ((method, router), form) in enumerate(product(lines, FORMS)):
        line = [{"method": method, "ratio": ratio, "granularity": form, **router} for ratio in RATIOS]
        line = [variant for variant in line if task in board.found(variant)]
        places = [variant["ratio"] + 0.012 * (number - 2) for variant in line]
        means = [mean(board.values(variant)[task].values()) for variant in line]
        axes.plot(places, means, _STYLES[form][1], color=_COLORS[method], linewidth=1)
        for variant, place in zip(line, places, strict=True):
            _point(axes, board, task, variant, place)
    axes.set(xlabel="dynamic ratio (equal ones drawn apart)", ylabel="metric, points", xlim=(-0.05, 1.06))


def _point(axes: Axes, board: Board, task: str, variant: Variant, place: float) -> None:
    """Mean and standard deviation of a method."""
    values = list(board.values(variant)[task].values())
    deviation = stdev(values) if len(values) > 1 else None
    axes.errorbar(place, mean(values), yerr=deviation, linestyle="none", capsize=2, **_look(variant, task))


def _look(variant: Variant, task: str) -> dict[str, Any]:
    """Marker, color and name of a method, the ratio left out; a triangle for a router without noise."""
    method, form = variant["method"], variant.get("granularity", "")
    name = title(variant, task).replace(f" {variant.get('ratio')}", "")
    if method in _OF_COPIES:
        name = ", ".join([_OF_COPIES[method], *name.split(", ")[1:]])
    return {
        "marker": "^" if "router_noise" in variant else _STYLES.get(form, "D")[0],
        "color": _COLORS[method],
        "markerfacecolor": "white" if form == "element" else None,
        "markersize": 5,
        "label": name,
    }


def _layers(axes: Axes, board: Board, task: str) -> None:
    """The dynamic ratio that IMP gave every layer, the first seed's, by rounds, granularity and what it looked for."""
    shown = {"method", "ratio", "granularity", "rounds", "criterion", *DEFAULT_ROUTER}
    for variant in unique(measured_variants(board, "headline") + measured_variants(board, "choices")):
        rows = board.found(variant).get(task)
        criterion = variant.get("criterion", "snip")
        if rows and variant["method"] == "pad" and set(variant) <= shown and criterion in ("snip", "disagreement"):
            ratios = list(rows[min(rows)].values["layer_ratios"].values())
            marker, line = _STYLES[variant["granularity"]]
            axes.plot(range(1, len(ratios) + 1), ratios, line, marker=marker, markersize=4, label=title(variant, task))
    axes.set(xlabel="layer", ylabel="dynamic ratio", ylim=(0, 1.02))
    axes.xaxis.get_major_locator().set_params(integer=True)


def _epochs(axes: Axes, board: Board, task: str) -> None:
    """Metric against training loss, epoch by epoch, means over seeds."""
    for variant in _with_both_routers(board):
        rows = [row.values for row in board.found(variant).get(task, {}).values()]
        if rows:
            losses = _mean_by_epoch([values["train_losses"] for values in rows])
            metrics = _mean_by_epoch([_metrics_by_epoch(values, task) for values in rows])
            line = ":" if "router_noise" in variant else "-"
            axes.plot(losses, metrics, line, linewidth=1, **_look(variant, task))
    axes.set(xlabel="training loss of an epoch", ylabel="metric after it, points")
    axes.invert_xaxis()


def _metrics_by_epoch(values: Mapping[str, Any], task: str) -> list[float]:
    """In points; of images the last epoch's is the final one, of texts it is both."""
    epochs = [*values["metrics_by_epoch"], values["metrics"]][: len(values["train_losses"])]
    return [100 * epoch[TASKS[task].metric] for epoch in epochs]


def _mean_by_epoch(runs: Sequence[Sequence[float]]) -> list[float]:
    return [mean(of_runs) for of_runs in zip(*runs, strict=True)]
