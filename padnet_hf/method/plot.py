"""The picture of a PartitionReport."""

from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from padnet_hf.errors import PADNetError

if TYPE_CHECKING:
    from padnet_hf.method.report import PartitionReport

_FORMATS = (".png", ".pdf", ".svg")
_DYNAMIC, _STATIC = "#d95f02", "#7570b3"
_CURRENT, _BOUND = "#404040", "#bbbbbb"


def draw(report: "PartitionReport", path: str | PathLike[str]) -> None:
    """Left: the dynamic ratio of every PAD layer. Right: the stored size of the model beside the two it lies between.

    Raises PADNetError if matplotlib is not installed, or the file is of another kind or cannot be written.
    """
    if Path(path).suffix.lower() not in _FORMATS:
        raise PADNetError(f"cannot draw to {str(path)!r}: give a file that ends in {', '.join(_FORMATS)}.")
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise PADNetError("drawing needs matplotlib, which is not installed: pip install matplotlib") from error

    figure = Figure(figsize=(11, max(3.6, 0.26 * len(report.layers) + 1.6)), layout="constrained")
    FigureCanvasAgg(figure)
    ratios, sizes = figure.subplots(1, 2, width_ratios=(3, 2))

    positions = range(len(report.layers))
    dynamic = [layer.dynamic_ratio for layer in report.layers]
    ratios.barh(positions, dynamic, color=_DYNAMIC, label="dynamic (a copy per expert or kernel)")
    ratios.barh(positions, [1 - ratio for ratio in dynamic], left=dynamic, color=_STATIC, label="static (one copy)")
    for position, ratio in zip(positions, dynamic, strict=True):
        ratios.text(1.01, position, f"{ratio:.2f}", va="center", fontsize=8)  # beside the bar: on it, lines cross it
    overall = report.dynamic_ratio
    ratios.axvline(overall, color="black", linewidth=1, linestyle="--", label=f"all layers: {overall:.3f} dynamic")
    ratios.set(xlim=(0, 1), ylim=(len(dynamic) - 0.5, -0.5), xlabel="share of the layer's weights")
    before, names, after = _without_shared_parts([layer.name.split(".") for layer in report.layers])
    literal = {"fontsize": 8, "parse_math": False, "usetex": False}  # a module may be called `a$b`
    ratios.set_yticks(positions, names, **literal)
    ratios.set_ylabel(".".join([*before, "*", *after]) if before or after else "", **literal)
    ratios.spines[["top", "right"]].set_visible(False)
    ratios.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, frameon=False, fontsize=8, columnspacing=1)

    bars = {"dense": report.dense, "this\nmodel": report.current, "fully\ndynamic": report.fully_dynamic}
    megabytes = [size.bytes / 1e6 for size in bars.values()]
    sizes.bar(list(bars), megabytes, color=(_BOUND, _CURRENT, _BOUND), width=0.65)
    for index, (height, size) in enumerate(zip(megabytes, bars.values(), strict=True)):
        shown = f"{_digits(height)} MB\n{_digits(size.parameters / 1e6)}M"
        sizes.text(index, height, shown, ha="center", va="bottom", fontsize=8)
    sizes.set(ylabel="whole model, MB (parameters)", ylim=(0, max(megabytes) * 1.15))
    sizes.tick_params(axis="x", length=0)
    sizes.spines[["top", "right"]].set_visible(False)
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
