"""Pictures of a PartitionReport, and of how far copies are apart."""

from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from padnet_hf.errors import PADNetError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from padnet_hf.method.report import PartitionReport

_FORMATS = (".png", ".pdf", ".svg")
_DYNAMIC, _STATIC = "#d95f02", "#7570b3"
_CURRENT, _BOUND = "#404040", "#bbbbbb"


def draw(report: "PartitionReport", path: str | PathLike[str]) -> None:
    """Left: the dynamic ratio of every PAD layer. Right: the stored size of the model beside the two it lies between.

    Raises PADNetError if matplotlib is not installed, or the file is of another kind or cannot be written.
    """
    figure = _figure(path, 11, len(report.layers))
    ratios, sizes = figure.subplots(1, 2, width_ratios=(3, 2))

    positions = range(len(report.layers))
    dynamic = [layer.dynamic_ratio for layer in report.layers]
    ratios.barh(positions, dynamic, color=_DYNAMIC, label="dynamic (a copy per expert or kernel)")
    record, rest, color = report.record or {}, "static (one copy)", _STATIC
    if record.get("masks") == "per_copy" and record.get("granularity") == "unit":
        rest, color = "left out", _BOUND
    ratios.barh(positions, [1 - ratio for ratio in dynamic], left=dynamic, color=color, label=rest)
    for position, ratio in zip(positions, dynamic, strict=True):
        ratios.text(1.01, position, f"{ratio:.2f}", va="center", fontsize=8)  # beside the bar: on it, lines cross it
    overall = report.dynamic_ratio
    ratios.axvline(overall, color="black", linewidth=1, linestyle="--", label=f"all layers: {overall:.3f} dynamic")
    ratios.set(xlim=(0, 1), ylim=(len(dynamic) - 0.5, -0.5), xlabel="share of the layer's weights")
    _name_layers(ratios, [layer.name for layer in report.layers])

    bars = {"dense": report.dense, "this\nmodel": report.current, "fully\ndynamic": report.fully_dynamic}
    megabytes = [size.bytes / 1e6 for size in bars.values()]
    sizes.bar(list(bars), megabytes, color=(_BOUND, _CURRENT, _BOUND), width=0.65)
    for index, (height, size) in enumerate(zip(megabytes, bars.values(), strict=True)):
        shown = f"{_digits(height)} MB\n{_digits(size.parameters / 1e6)}M"
        sizes.text(index, height, shown, ha="center", va="bottom", fontsize=8)
    sizes.set(ylabel="whole model, MB (parameters)", ylim=(0, max(megabytes) * 1.15))
    sizes.tick_params(axis="x", length=0)
    sizes.spines[["top", "right"]].set_visible(False)
    _save(figure, path)


def draw_relatedness(values: Mapping[str, float], num_copies: int, path: str | PathLike[str]) -> None:
    """The relatedness of every layer (padnet_hf/method/relatedness.py), and that of copies with nothing in common.

    Raises PADNetError as `draw` does.
    """
    figure = _figure(path, 8, len(values))
    axes = figure.subplots()
    least = min([0.01, *(value / 3 for value in values.values() if value)])
    axes.barh(range(len(values)), list(values.values()), color=_DYNAMIC, label="copies of the layer")
    for position, value in enumerate(values.values()):
        axes.text(value or least, position, f" {value:.2g}", va="center", fontsize=8)
    strangers = (num_copies - 1) / num_copies
    axes.axvline(strangers, color="black", linewidth=1, linestyle="--", label=f"strangers: {strangers:.3g}")
    axes.set_xscale("log")  # relatives may be a thousandth as far apart as strangers
    axes.set(xlim=(least, 2), ylim=(len(values) - 0.5, -0.5), xlabel="distance from the mean, share of the energy")
    _name_layers(axes, list(values))
    _save(figure, path)


def _figure(path: str | PathLike[str], width: float, num_layers: int) -> "Figure":
    """An empty one, of a height for so many layers; refuses what cannot be drawn before anything is."""
    if Path(path).suffix.lower() not in _FORMATS:
        raise PADNetError(f"cannot draw to {str(path)!r}: give a file that ends in {', '.join(_FORMATS)}.")
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise PADNetError("drawing needs matplotlib, which is not installed: pip install matplotlib") from error

    figure = Figure(figsize=(width, max(3.6, 0.26 * num_layers + 1.6)), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _name_layers(axes: "Axes", layers: list[str]) -> None:
    """Layers from top to bottom, what all names share once; and the legend above."""
    before, names, after = _without_shared_parts([layer.split(".") for layer in layers])
    literal = {"fontsize": 8, "parse_math": False, "usetex": False}  # a module may be called `a$b`
    axes.set_yticks(range(len(layers)), names, **literal)
    axes.set_ylabel(".".join([*before, "*", *after]) if before or after else "", **literal)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, frameon=False, fontsize=8, columnspacing=1)


def _save(figure: "Figure", path: str | PathLike[str]) -> None:
    try:
        figure.savefig(path, dpi=150)
    except OSError as error:
        raise PADNetError(f"cannot draw to {str(path)!r}: {error}; give a file in a folder that is there.") from error


def _digits(value: float) -> str:
    """Three digits, or all that are before the point: 0.667, 8.33, 56.6, 1,234."""
    decimals = next((count for count, limit in ((3, 1), (2, 10), (1, 100)) if value < limit), 0)
    return f"{value:,.{decimals}f}"


def _without_shared_parts(names: list[list[str]]) -> tuple[list[str], list[str], list[str]]:
    """What all names begin with, what is left of each, and what all end with."""
    shortest = min(len(parts) for parts in names) - 1  # something is left of each
    num_before = next((i for i in range(shortest) if len({parts[i] for parts in names}) > 1), shortest)
    room = shortest - num_before
    num_after = next((i for i in range(room) if len({parts[-1 - i] for parts in names}) > 1), room)
    rest = [".".join(parts[num_before : len(parts) - num_after]) for parts in names]
    return names[0][:num_before], rest, names[0][len(names[0]) - num_after :]
