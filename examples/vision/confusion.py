"""The picture of what is taken for what."""

from collections.abc import Sequence
from os import PathLike

import numpy as np

_NUMBERS_UP_TO, _NAMES_UP_TO = 20, 60


def draw_confusions(confusions: np.ndarray, names: Sequence[str], path: str | PathLike[str]) -> None:
    """Draw counts (C, C), true class by row, as shares of each row; needs matplotlib.

    Up to 20 classes have their shares written in per cent, up to 60 their names.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    count = len(names)
    shares = confusions / np.maximum(confusions.sum(1, keepdims=True), 1)
    side = min(14.0, 3.2 + 0.5 * count)
    figure = Figure(figsize=(side + 1, side), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(image, ax=axes, label="share of the true class", shrink=0.8)
    axes.set(xlabel="predicted", ylabel="true")
    if count <= _NAMES_UP_TO:
        is_long = max(map(len, names)) > 3
        turned = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"} if is_long else {}
        literal = {"parse_math": False, "usetex": False}  # a class may be called `$5`
        axes.set_xticks(range(count), names, **turned, **literal)
        axes.set_yticks(range(count), names, **literal)
    if count <= _NUMBERS_UP_TO:
        for (row, column), share in np.ndenumerate(shares):
            if confusions[row, column]:
                color = "white" if share > 0.5 else "black"
                axes.text(column, row, _per_cent(share), ha="center", va="center", color=color, fontsize=8)
        axes.set_title("share of each true class, per cent", fontsize=10)
    axes.tick_params(length=0)
    figure.savefig(path, dpi=150)


def _per_cent(share: float) -> str:
    """`<1` for shares that would be rounded to 0, so that no image is lost; `>99` where one is missing from 100."""
    if share < 0.01:
        return "<1"
    return ">99" if 0.995 <= share < 1 else f"{100 * share:.0f}"
