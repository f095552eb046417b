"""The picture to choose by: what a classifier of texts costs against dense BERT, by the number of tokens in a batch."""

import json
from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from benchmarks.comparison import Comparison
from benchmarks.pad_bert import BASELINE, DENSE, ELEMENT, INFERENCE, STEP, UNIT

NAME = "choice.png"
_COLORS = {BASELINE: "#d95f02", ELEMENT: "#7570b3", UNIT: "#1b9e77"}
_PANELS = {
    "time of an answer (line) and of a training step (dashes)": ((INFERENCE, "seconds", "-"), (STEP, "seconds", "--")),
    "memory in training (line), parameters alone (dots)": ((STEP, "peak bytes", "-"), (STEP, "parameter bytes", ":")),
}


def draw_choice(folder: Path) -> Path | None:
    """Draw folder/choice.png from the results of `pad_bert` there; its path, or None without them."""
    path = folder / "pad_bert.json"
    if not path.exists():
        return None
    comparisons = [Comparison.from_json(one) for one in json.loads(path.read_text())["comparisons"]]
    figure = Figure(figsize=(10, 4), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(1, 2, sharex=True, sharey=True)
    for axes, (title, lines) in zip(grid, _PANELS.items(), strict=True):
        for part, quantity, style in lines:
            chosen = [c for c in comparisons if (c.part, c.quantity) == (part, quantity)]
            _draw_lines(axes, sorted(chosen, key=_tokens), style)
        axes.axhline(1, color="black", linewidth=0.8)
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("tokens in a batch")
        axes.grid(axis="y", linewidth=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    ticks = sorted({_tokens(c) for c in comparisons})
    grid[0].set(xscale="log", ylabel="dense = 1")
    grid[0].set_xticks(ticks, [f"{tick:,}" for tick in ticks], minor=False)
    grid[0].minorticks_off()
    grid[0].set_ylim(bottom=0)
    handles = [Patch(color=color, label=name) for name, color in _COLORS.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False)
    figure.savefig(folder / NAME, dpi=100)
    return folder / NAME


def _tokens(comparison: Comparison) -> int:
    return comparison.case["sentences"] * comparison.case["tokens each"]


def _draw_lines(axes: Axes, chosen: Sequence[Comparison], style: str) -> None:
    """A line per variant: the ratio to dense, with its quartiles."""
    for name, color in _COLORS.items():
        found = [comparison.ratio(name, DENSE) for comparison in chosen if name in comparison.values]
        errors = [[one.median - one.lower for one in found], [one.upper - one.median for one in found]]
        tokens = [_tokens(comparison) for comparison in chosen if name in comparison.values]
        medians = [one.median for one in found]
        axes.errorbar(tokens, medians, errors, color=color, linestyle=style, marker="o", markersize=4, capsize=2)
