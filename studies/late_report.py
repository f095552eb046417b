"""The rows of late partitions as tables, and as one picture."""

from collections.abc import Sequence
from pathlib import Path
from statistics import mean

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from benchmarks.results import table
from padnet_hf import PADNetError
from studies.late.networks import LANGUAGE, TEXTS
from studies.late.rows import Row, versions
from studies.paired import Values, difference

WHOLE = "fully dynamic"
_FULL_SIZE = 1.0


class Rows:
    """Rows of one version of the code."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self._rows = rows
        self.steps = max(row.steps for row in rows)
        self.seeds = {task: sorted({row.seed for row in rows if row.task == task}) for task in (*TEXTS, *LANGUAGE)}

    def ways(self, tasks: Sequence[str]) -> list[tuple[str, float]]:
        """Names and ratios of all ways on any of these tasks, largest first."""
        found = dict.fromkeys((row.way, row.ratio) for row in self._rows if row.task in tasks)
        return sorted(found, key=lambda way: -way[1])

    def values(self, way: tuple[str, float], tasks: Sequence[str], of: str, steps: int = 0) -> Values:
        """What rows have of this field, task by task and seed by seed."""
        kept = [row for row in self._rows if (row.way, row.ratio) == way and row.steps == steps]
        found = {task: {row.seed: getattr(row, of) for row in kept if row.task == task} for task in tasks}
        return {task: seeds for task, seeds in found.items() if seeds}

    def share(self, way: tuple[str, float], tasks: Sequence[str]) -> float:
        """Bytes, those of the fully dynamic network being 1."""
        own, whole = (self.values(one, tasks, "bytes") for one in (way, (WHOLE, _FULL_SIZE)))
        return mean(own[task][seed] / whole[task][seed] for task in own for seed in own[task])


def sections(rows: Sequence[Row], code: str | None) -> dict[str, str]:
    """Markdown by name: where the rows are from, and a table of each kind of network that has any.

    Raises PADNetError if there is no such version of the code.
    """
    found, origins = {}, []
    for name, tasks, make in (("late_texts", TEXTS, texts_table), ("late_language", LANGUAGE, language_table)):
        shown = of_version(rows, tasks, code)
        if shown:
            networks = len({(row.task, row.seed) for row in shown})
            origins.append(f"{len(shown)} on {networks} {_KINDS[tasks]}, of code {shown[0].code}")
            found[name] = make(Rows(shown))
    return {"late_origin": f"Rows: {'; '.join(origins)}.", **found}


_KINDS = {TEXTS: "classifiers", LANGUAGE: "language models"}


def of_version(rows: Sequence[Row], tasks: Sequence[str], code: str | None) -> list[Row]:
    """Those on these tasks of this version of the code, or of the one that has the most of them."""
    known = versions(rows)
    if not known or (code and code not in known):
        names = ", ".join(sorted(known)) or "none"
        raise PADNetError(f"there are no rows of the code {code or 'at all'}, but of {names}: `run` makes them")
    of_tasks = [row for row in rows if row.task in tasks]
    return [row for row in of_tasks if row.code == (code or versions(of_tasks)[0])]


def texts_table(rows: Rows) -> str:
    """Metric on each task, and the differences from the fully dynamic network, with intervals over seeds."""
    tasks = [task for task in TEXTS if rows.seeds[task]]
    whole = (WHOLE, _FULL_SIZE)
    lines = []
    for way in rows.ways(tasks):
        values = rows.values(way, tasks, "metric")
        lost = difference(values, rows.values(whole, tasks, "metric"))
        interval = "" if lost.low is None else f"{lost.low:+.1f} to {lost.high:+.1f}"
        lines.append((
            way[0], *_sizes(rows, way, tasks), *(_mean(values, task) for task in tasks), f"{lost.mean:+.2f}", interval,
            _loss(rows, way, tasks),
        ))  # fmt: skip
    header = ("way", "ratio", "bytes", *tasks, "lost", "95 %", "loss")
    return table(header, lines)


def language_table(rows: Rows) -> str:
    """Perplexity at once and after a short training."""
    tasks = [task for task in LANGUAGE if rows.seeds[task]]
    lines = []
    for way in rows.ways(tasks):
        cells = [_mean(rows.values(way, tasks, "metric", after), task) for task in tasks for after in (0, rows.steps)]
        gaps = [_gap(rows, way, task) for task in tasks]
        lines.append((way[0], *_sizes(rows, way, tasks), *cells, *gaps))
    names = [f"{task}{words}" for task in tasks for words in ("", f", {rows.steps} steps")]
    return table(("way", "ratio", "bytes", *names, *(f"{task}, gap" for task in tasks)), lines)


def _sizes(rows: Rows, way: tuple[str, float], tasks: Sequence[str]) -> tuple[str, str]:
    return "" if way[0] in (WHOLE, "dense") else f"{way[1]:g}", f"{rows.share(way, tasks):.2f}"


def _mean(values: Values, task: str) -> str:
    return f"{mean(values[task].values()):.1f}" if task in values else ""


def _loss(rows: Rows, way: tuple[str, float], tasks: Sequence[str]) -> str:
    """The mean over tasks of the rise of the loss over the fully dynamic network's, in per cent of that."""
    own, whole = (rows.values(one, tasks, "loss") for one in (way, (WHOLE, _FULL_SIZE)))
    rises = [mean(own[task][seed] / whole[task][seed] - 1 for seed in own[task]) for task in own]
    return f"{100 * mean(rises):+.1f} %"


def _gap(rows: Rows, way: tuple[str, float], task: str) -> str:
    """How far the loss is above the fully dynamic network's, the best way of dropping experts at this ratio being 1."""
    above = _above(rows, way, task)
    drops = [_above(rows, of, task) for of in rows.ways([task]) if of[0].startswith("drop") and of[1] == way[1]]
    return f"{above / min(drops):.2f}" if drops and above is not None else ""


def _above(rows: Rows, way: tuple[str, float], task: str) -> float | None:
    """None where it is not measured yet."""
    own, whole = (rows.values(one, [task], "loss").get(task, {}) for one in (way, (WHOLE, _FULL_SIZE)))
    seeds = own.keys() & whole.keys()
    return mean(own[seed] - whole[seed] for seed in seeds) if seeds else None


_STYLES = {
    "random": ("#fdbf6f", "os"), "drop": ("#1b9e77", "osD^"), "merge": ("#7570b3", "os"), "mean and": ("#444444", "D"),
    "prune": ("#999999", "s"), "nothing": ("#444444", "v^P"), "": ("#d95f02", "osD^"),
}  # fmt: skip
"""Beginning of a name -> color, and markers of those that begin so; "" for our own."""


def draw(rows: Sequence[Row], code: str | None, path: Path) -> None:
    """The loss above the fully dynamic network's against bytes, a panel for each kind of network."""
    found = Rows([row for tasks in _KINDS for row in of_version(rows, tasks, code)])
    panels = [("classifiers", [t for t in TEXTS if found.seeds[t]]), *((task, [task]) for task in LANGUAGE)]
    panels = [(title, tasks) for title, tasks in panels if tasks and all(found.seeds[task] for task in tasks)]
    figure = Figure(figsize=(4.4 * len(panels) + 0.6, 5.6), layout="constrained")
    FigureCanvasAgg(figure)
    all_axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for axes, (title, tasks) in zip(all_axes, panels, strict=True):
        _panel(axes, found, tasks)
        axes.set(title=title, xlabel="bytes of the model (fully dynamic: 1)", ylabel="loss above fully dynamic")
    handles = dict(item for axes in all_axes for item in zip(*axes.get_legend_handles_labels()[::-1], strict=True))
    figure.legend(
        handles.values(), handles.keys(), loc="outside lower left", ncols=2 * len(panels), frameon=False, fontsize=7
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def _panel(axes: Axes, rows: Rows, tasks: Sequence[str]) -> None:
    """A line for each way, over what it was measured at on all these tasks."""
    markers = {beginning: iter(of) for beginning, (_, of) in _STYLES.items()}
    for name in dict.fromkeys(name for name, _ in rows.ways(tasks) if name not in (WHOLE, "dense")):
        beginning = next(one for one in _STYLES if name.startswith(one))
        above = {way: [_above(rows, way, task) for task in tasks] for way in rows.ways(tasks) if way[0] == name}
        points = [(rows.share(way, tasks), mean(values)) for way, values in above.items() if None not in values]
        style = {"color": _STYLES[beginning][0], "marker": next(markers[beginning]), "label": name}
        axes.plot(*zip(*points, strict=True), **style, markersize=5, linewidth=0.8) if points else None
    axes.axhline(0, color="#444444", linewidth=0.8)
    axes.grid(linewidth=0.3)
    axes.spines[["top", "right"]].set_visible(False)
