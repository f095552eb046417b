"""Pictures of results."""

from pathlib import Path
from statistics import median
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from benchmarks.convolutions import NETWORK_VARIANTS

_COLORS = ("#999999", "#7570b3", "#d95f02", "#e6ab02", "#1b9e77")

_VARIANT_COLORS = dict(zip(NETWORK_VARIANTS, (*_COLORS, "#66a61e", "#a6761d"), strict=True))


def draw_experts(results: dict[str, Any], path: Path) -> None:
    """Ratios to transformers' fully dynamic experts with quartiles, a panel per mode and implementation; and memory."""
    modes = list(dict.fromkeys(row["mode"] for row in results["times"]))
    implementations = list(dict.fromkeys(row["implementation"] for row in results["times"] if row["implementation"]))
    figure = Figure(figsize=(13, 7), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(len(implementations), len(modes) + 1, width_ratios=(*[3] * len(modes), 2))
    for line, implementation in enumerate(implementations):
        for column, mode in enumerate(modes):
            rows = [r for r in results["times"] if r["mode"] == mode and r["implementation"] == implementation]
            axes = figure.add_subplot(grid[line, column])
            _draw_ratios(axes, rows, f"{mode}, {implementation}")
            if line == column == 0:
                figure.legend(*axes.get_legend_handles_labels(), loc="outside lower left", ncols=5, frameon=False)
    _draw_memory(figure.add_subplot(grid[:, -1]), results["memory"])
    figure.savefig(path, dpi=120)


def _draw_ratios(axes: Axes, rows: list[dict[str, Any]], title: str) -> None:
    cases = list(dict.fromkeys((row["hidden"], row["inner"], row["tokens"]) for row in rows))
    names = list(dict.fromkeys(row["variant"] for row in rows))
    width = 0.8 / len(names)
    for number, (name, color) in enumerate(zip(names, _COLORS, strict=False)):
        found = [row for row in rows if row["variant"] == name]
        places = [cases.index((r["hidden"], r["inner"], r["tokens"])) + (number + 0.5) * width - 0.4 for r in found]
        spread = [r["ratio"] for r in found]
        errors = [[s["median"] - s["lower"] for s in spread], [s["upper"] - s["median"] for s in spread]]
        axes.bar(places, [s["median"] for s in spread], width, yerr=errors, color=color, label=name, capsize=2)
    axes.axhline(1, color="black", linewidth=0.8)
    axes.set_xticks(range(len(cases)), [f"{hidden}/{inner}\n{tokens} tokens" for hidden, inner, tokens in cases])
    axes.set(title=title, ylabel="time, transformers' fully dynamic = 1")
    axes.grid(axis="y", linewidth=0.3)
    axes.spines[["top", "right"]].set_visible(False)


def _draw_memory(axes: Axes, rows: list[dict[str, Any]]) -> None:
    cases = [row["case"] for row in rows]
    names = ["fully\ndynamic" if c is cases[0] else f"{c['granularity']}\n{c['ratio']}" for c in cases]
    peaks = [median(row["peak_bytes"]) / 2**30 for row in rows]
    axes.bar(names, peaks, color=(_COLORS[1], _COLORS[3], _COLORS[2]))
    for place, row in enumerate(rows):
        axes.text(place, peaks[place], f"{row['ratio']['median']:.2f}", ha="center", va="bottom")
    axes.set(title="peak memory of a training step", ylabel="GiB")
    axes.spines[["top", "right"]].set_visible(False)


def draw_convolutions(results: dict[str, Any], path: Path) -> None:
    """Time of whole networks against the plain one, a panel per network; and peak memory of inference."""
    networks = list(dict.fromkeys(row["network"] for row in results["networks"]))
    figure = Figure(figsize=(13, 4 * len(networks)), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(len(networks), 2, width_ratios=(4, 1))
    for line, network in enumerate(networks):
        axes = figure.add_subplot(grid[line, 0])
        rows = [row for row in results["networks"] if row["network"] == network]
        _draw_networks(axes, rows, network)
        if line == 0:
            figure.legend(*axes.get_legend_handles_labels(), loc="outside lower left", ncols=7, frameon=False)
    axes = figure.add_subplot(grid[:, 1])
    for place, row in enumerate(results["memory"]):
        height = row["peak_bytes"] / 2**20
        axes.bar(place, height, color=_VARIANT_COLORS[row["variant"]])
        axes.text(place, height, f"{row['ratio']:.2f}", ha="center", va="bottom")
    memory = results["memory"][0]
    axes.set(title=f"peak memory of inference\n{memory['network']}, batch {memory['batch']}", ylabel="MiB", xticks=[])
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120)


def _draw_networks(axes: Axes, rows: list[dict[str, Any]], title: str) -> None:
    cases = list(dict.fromkeys((row["mode"], row["batch"]) for row in rows))
    names = list(dict.fromkeys(row["variant"] for row in rows))
    width = 0.8 / len(names)
    for number, name in enumerate(names):
        found = [row for row in rows if row["variant"] == name]
        places = [cases.index((row["mode"], row["batch"])) + (number + 0.5) * width - 0.4 for row in found]
        spread = [row["to plain"] for row in found]
        errors = [[s["median"] - s["lower"] for s in spread], [s["upper"] - s["median"] for s in spread]]
        heights, color = [s["median"] for s in spread], _VARIANT_COLORS[name]
        axes.bar(places, heights, width, yerr=errors, color=color, label=name, capsize=2)
    axes.axhline(1, color="black", linewidth=0.8)
    axes.set_xticks(range(len(cases)), [f"{mode}\nbatch {batch}" for mode, batch in cases])
    axes.set(title=title, ylabel="time, plain network = 1")
    axes.grid(axis="y", linewidth=0.3)
    axes.spines[["top", "right"]].set_visible(False)
