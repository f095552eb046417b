"""Pictures of results: for each part and quantity a panel with the ratios to its first baseline."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from benchmarks.comparison import DEVIATION, Comparison, by_part, describe

_COLORS = (
    *("#7570b3", "#d95f02", "#1b9e77", "#e6ab02", "#66a61e", "#a6761d", "#e7298a"),
    *("#999999", "#1f78b4", "#b2df8a", "#fb9a99", "#cab2d6", "#fdbf6f", "#6a3d9a", "#b15928", "#444444"),
)
_BARS_PER_INCH = 7
_MOST_CASES = 12
"""Parts with more cases are for tables: in a picture their labels would lie over each other."""


def draw(comparisons: Sequence[Comparison], path: Path) -> None:
    """Bars with quartiles, a group of them for each case; a variant has the same colour in all panels."""
    measured = [comparison for comparison in comparisons if comparison.quantity != DEVIATION]
    panels = {key: group for key, group in by_part(measured).items() if len(group) <= _MOST_CASES}
    names = list(dict.fromkeys(name for group in panels.values() for comparison in group for name in comparison.values))
    colors = {name: _COLORS[number % len(_COLORS)] for number, name in enumerate(names)}
    widest = max(sum(len(c.values) + 1 for c in group) for group in panels.values())
    figure = Figure(figsize=(max(9, widest / _BARS_PER_INCH), 3 * len(panels) + 1), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(len(panels), squeeze=False)[:, 0]
    for axes, ((part, quantity), group) in zip(grid, panels.items(), strict=True):
        _draw_panel(axes, group, colors)
        axes.set_xlim(-1, widest)  # bars of the same width in all panels
        axes.set(title=part if quantity == "seconds" else f"{part}, {quantity}")
        axes.set_ylabel(f"{'time' if quantity == 'seconds' else quantity},\n{group[0].baselines[0]} = 1")
    handles = dict(zip(*_legend(grid), strict=True))
    figure.legend(handles.values(), handles.keys(), loc="outside lower left", ncols=5, frameon=False)
    figure.savefig(path, dpi=100)


def _draw_panel(axes: Axes, group: Sequence[Comparison], colors: dict[str, str]) -> None:
    place, ticks = 0, []
    for comparison in group:
        start = place
        for name in comparison.values:
            lower, median, upper = comparison.ratio(name, comparison.baselines[0])
            errors = [[median - lower], [upper - median]]
            axes.bar(place, median, yerr=errors, color=colors[name], label=name, capsize=2)
            place += 1
        ticks.append((start + place - 1) / 2)
        place += 1
    axes.axhline(1, color="black", linewidth=0.8)
    axes.set_xticks(ticks, [describe(c.case).replace(", ", "\n") for c in group], fontsize=8)
    axes.grid(axis="y", linewidth=0.3)
    axes.spines[["top", "right"]].set_visible(False)


def _legend(grid: Sequence[Axes]) -> tuple[list[str], list[object]]:
    found = [axes.get_legend_handles_labels() for axes in grid]
    return [name for _, names in found for name in names], [handle for handles, _ in found for handle in handles]
