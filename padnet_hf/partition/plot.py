"""The picture of a PartitionReport."""

from os import PathLike
from typing import TYPE_CHECKING

from padnet_hf.errors import PADNetError

if TYPE_CHECKING:
    from padnet_hf.partition.report import PartitionReport

_DYNAMIC, _STATIC, _DENSE = "#d95f02", "#7570b3", "#999999"


def draw(report: "PartitionReport", path: str | PathLike[str]) -> None:
    """Left: the dynamic ratio of every PAD layer. Right: the stored size of the model beside the two it lies between.

    Raises PADNetError if matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise PADNetError("drawing needs matplotlib, which is not installed: pip install 'padnet_hf[plots]'") from error

    figure = Figure(figsize=(10, max(3.0, 0.28 * len(report.layers) + 1.6)), layout="constrained")
    FigureCanvasAgg(figure)
    ratios, sizes = figure.subplots(1, 2, width_ratios=(3, 2))

    positions = range(len(report.layers))
    dynamic = [layer.dynamic_ratio for layer in report.layers]
    ratios.barh(positions, dynamic, color=_DYNAMIC, label="dynamic (one copy per expert or kernel)")
    ratios.barh(positions, [1 - ratio for ratio in dynamic], left=dynamic, color=_STATIC, label="static (one copy)")
    for position, ratio in zip(positions, dynamic, strict=True):
        ratios.text(min(ratio + 0.01, 0.9), position, f"{ratio:.2f}", va="center", color="white", fontsize=8)
    ratios.axvline(report.dynamic_ratio, color="black", linewidth=1, linestyle="--")
    ratios.set(xlim=(0, 1), xlabel=f"share of the layer's parameters (all layers: {report.dynamic_ratio:.3f} dynamic)")
    ratios.set_yticks(positions, [layer.name for layer in report.layers], fontsize=8)
    ratios.invert_yaxis()
    ratios.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, frameon=False, fontsize=8)

    bars = (
        ("dense", report.dense, _DENSE),
        ("this model", report.current, _STATIC),
        ("fully dynamic", report.fully_dynamic, _DYNAMIC),
    )
    heights = [size.bytes / 1e6 for _, size, _ in bars]
    sizes.bar([name for name, _, _ in bars], heights, color=[color for _, _, color in bars])
    for index, (height, (_, size, _)) in enumerate(zip(heights, bars, strict=True)):
        sizes.text(
            index, height, f"{height:,.0f} MB\n{size.parameters / 1e6:,.1f}M", ha="center", va="bottom", fontsize=8
        )
    sizes.set(ylabel="stored size of the whole model, MB", ylim=(0, max(heights) * 1.18))
    sizes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)
