"""The end of a run: sizes and metric of the three networks, and how to load the result."""

from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from torch.nn import Module
from transformers import PreTrainedModel

from padnet_hf.adapters.sparse import trained_parameters
from padnet_hf.jobs.adapting import base_of
from padnet_hf.jobs.late_partition import Before
from padnet_hf.jobs.networks import size_report, variant_of
from padnet_hf.method.report import PartitionReport, Size

WIDTH = 100
_COMPUTED = " *"


def close(model: Module, metrics: dict[str, float], folder: str, auto_class: str, before: Before | None = None) -> None:
    """Print the table of the three networks, and of an adapter, and how to load a model of texts from `folder`.

    Args:
        model: what the run made; with an adapter on it, PEFT's.
        metrics: by name.
        auto_class: name of the Auto class that loads it.
        before: the trained fully dynamic network, if the partition came late.
    """
    if isinstance(model, PreTrainedModel):
        report = size_report(model, auto_class)
        rows = closing_rows(model, variant_of(model.config), report, folder, metrics, before=before)
    else:
        adapter, where = adapter_row(model, folder, metrics), base_of(folder)
        model = model.unload()
        report = size_report(model, auto_class)
        rows = [*closing_rows(model, variant_of(model.config), report, where, {}), adapter]
    print_closing(rows, folder, auto_class=auto_class, per="token", counted="feed-forward layers")


def closing_rows(
    model: PreTrainedModel,
    own: str,
    report: PartitionReport | None,
    folder: str,
    metrics: dict[str, float],
    plain: str = "dense",
    before: Before | None = None,
) -> list[tuple[str, ...]]:
    """Rows of network, parameters, bytes on disk, multiply-adds, metric.

    The network of this run has its files' size and its metric, and so has the one that was partitioned late; others
    have computed sizes, marked, and "-".

    Args:
        model: what the run made, stored in `folder`.
        own: which of the three networks it is: `plain`, "fully dynamic" or "partitioned".
        report: the sizes of all three, None for a model that has no dynamic form.
        metrics: by name, for the network of the run.
        plain: what the network without dynamic layers is called.
        before: the trained fully dynamic network, if the partition came late.
    """
    forms: dict[str, Size | None] = dict.fromkeys((plain, "fully dynamic", "partitioned"))
    if report is not None:
        forms |= {plain: report.dense, "fully dynamic": report.fully_dynamic}
        forms |= {own: report.current} if own != plain else {}
    rows = []
    for name, size in forms.items():
        cells = ("-", "-", "-") if size is None else _size_cells(size)
        if name == own:
            stored = weights_size(folder)
            cells = (f"{model.num_parameters():,}", f"{stored:,}" if stored else cells[1], cells[2])
        rows.append((name, *cells, format_metrics(metrics) if name == own else "-"))
        if before is not None and name == "fully dynamic":
            rows[-1] = (name, cells[0], f"{weights_size(before.folder):,}", cells[2], format_metrics(before.metrics))
    return rows


def _size_cells(size: Size) -> tuple[str, str, str]:
    work = "-" if size.multiply_adds is None else f"{size.multiply_adds:,}"
    return f"{size.parameters:,}", f"{size.bytes:,}{_COMPUTED}", work


def adapter_row(model: Module, folder: str, metrics: dict[str, float]) -> tuple[str, ...]:
    """The row of an adapter in `folder`: what it trains of the model, bytes, metric of base and adapter together."""
    stored = weights_size(folder, "adapter_model.safetensors")
    return ("with its adapter", f"+ {trained_parameters(model):,}", f"+ {stored:,}", "-", format_metrics(metrics))


def weights_size(folder: str, pattern: str = "model*.safetensors") -> int:
    """Bytes of the model's weight files."""
    return sum(path.stat().st_size for path in Path(folder).glob(pattern))


def format_metrics(metrics: dict[str, Any]) -> str:
    """`accuracy 0.8603`, several one below the other; "-" without any."""
    return "\n".join(f"{name} {value:.4f}" for name, value in metrics.items()) or "-"


def print_closing(rows: list[tuple[str, ...]], folder: str, *, auto_class: str, per: str, counted: str) -> None:
    """Print the table, and the line of Python that loads what the run left in `folder`.

    Args:
        rows: as `closing_rows` gives them.
        folder: where the model lies.
        auto_class: name of the Auto class that loads it.
        per: what the multiply-adds are for, "token" or "image".
        counted: which layers' multiply-adds these are.
    """
    table = Table(title="What this run made", title_justify="left", box=SIMPLE_HEAD, caption_justify="left")
    table.caption = f"multiply-adds: {counted} only; * computed, not on disk"
    table.add_column("network")
    for heading in ("parameters", "bytes on disk", f"multiply-adds\nper {per}"):
        table.add_column(heading, justify="right")
    table.add_column("metric")
    for row in rows:
        table.add_row(*row)
    console = Console(width=WIDTH, highlight=False)
    console.print(table)
    lines = (
        f"from transformers import {auto_class}",
        f"import padnet_hf; model = {auto_class}.from_pretrained({folder!r})",
    )
    console.print("Load it with", style="bold")
    for line in lines:
        console.print(f"  {line}", soft_wrap=True, markup=False)
