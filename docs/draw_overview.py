"""Draws docs/overview.png: one weight of a layer as dense, fully dynamic and partially dynamic networks store it."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

DYNAMIC, STATIC, DENSE, EMPTY = "#d95f02", "#7570b3", "#999999", "#ffffff"
COPIES, SIDE = 4, 8
COLORS = ListedColormap([EMPTY, DYNAMIC, STATIC, DENSE])


def stack(axes: Axes, sheets: list[np.ndarray], title: str, below: str) -> None:
    """Draw weights as sheets, one behind the other."""
    for depth, sheet in reversed(list(enumerate(sheets))):
        shift = 0.9 * depth
        extent = (shift, shift + SIDE, shift, shift + SIDE)
        axes.imshow(sheet, cmap=COLORS, vmin=0, vmax=3, extent=extent, zorder=-depth, interpolation="none")
        for line in range(SIDE + 1):
            axes.plot([shift + line] * 2, [shift, shift + SIDE], color="white", linewidth=1, zorder=-depth)
            axes.plot([shift, shift + SIDE], [shift + line] * 2, color="white", linewidth=1, zorder=-depth)
        edge = [
            (shift, shift),
            (shift + SIDE, shift),
            (shift + SIDE, shift + SIDE),
            (shift, shift + SIDE),
            (shift, shift),
        ]
        axes.plot(*zip(*edge, strict=True), color="#444444", linewidth=1, zorder=-depth)
    axes.set(xlim=(-0.5, SIDE + 3.5), ylim=(-0.5, SIDE + 3.5), aspect="equal")
    axes.set_title(title, fontsize=12)
    axes.text((SIDE + 3) / 2, -1.2, below, ha="center", va="top", fontsize=10)
    axes.axis("off")


def main(path: Path) -> None:
    """Draw the three networks side by side."""
    figure = Figure(figsize=(11, 4.3), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, 4)
    chosen = np.random.default_rng(7).random((SIDE, SIDE)) < 0.5
    units = np.zeros((SIDE, SIDE), dtype=bool)
    units[[1, 2, 4, 7]] = True
    whole = np.ones((SIDE, SIDE), dtype=int)
    stack(axes[0], [3 * whole], "dense", "1 copy for every input")
    stack(axes[1], [whole] * COPIES, "fully dynamic (MoE)", "E copies of everything;\nthe input chooses")
    for place, mask, name in ((axes[2], chosen, "element"), (axes[3], units, "unit")):
        sheets = [np.where(mask, 1, 2), *[np.where(mask, 1, 0)] * (COPIES - 1)]
        stack(place, sheets, f"partially dynamic, {name}", "E copies of what IMP finds dynamic,\n1 copy of the rest")
    for name, color in (("dynamic: one value per expert", DYNAMIC), ("static: one value for all", STATIC)):
        axes[2].plot([], [], "s", color=color, label=name)
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main(Path(__file__).with_name("overview.png"))
