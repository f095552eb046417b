"""The end of a run: sizes and metric of the three networks, and how to load the result."""

from pathlib import Path
from typing import Any

import torch
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from transformers import PreTrainedModel

from glue_model import variant_of
from padnet_hf import PADBertConfig, PADBertForSequenceClassification, PartitionReport
from padnet_hf.partition.report import Size

WIDTH = 100
_COMPUTED = " *"


def size_report(model: PreTrainedModel) -> PartitionReport | None:
    """Sizes of the model in its three forms; for a dense BERT those it would have by default, None for other models."""
    if isinstance(model.config, PADBertConfig):
        return model.partition_report()
    if model.config.model_type != "bert":
        return None
    with torch.device("meta"):
        return PADBertForSequenceClassification(PADBertConfig.from_dense(model.config)).partition_report()


def closing_rows(model: PreTrainedModel, folder: str, metrics: dict[str, float]) -> list[tuple[str, ...]]:
    """Rows of network, parameters, bytes on disk, multiply-adds per token, metric.

    The network of this run has its files' size and its metric; the others have computed sizes, marked, and "-".
    """
    report, own = size_report(model), variant_of(model.config)
    forms: dict[str, Size | None] = dict.fromkeys(("dense", "fully dynamic", "partitioned"))
    if report is not None:
        forms |= {"dense": report.dense, "fully dynamic": report.fully_dynamic}
        forms |= {own: report.current} if own != "dense" else {}
    rows = []
    for name, size in forms.items():
        cells = ("-", "-", "-") if size is None else _size_cells(size)
        if name == own:
            stored = weights_size(folder)
            cells = (f"{model.num_parameters():,}", f"{stored:,}" if stored else cells[1], cells[2])
        rows.append((name, *cells, format_metrics(metrics) if name == own else "-"))
    return rows


def _size_cells(size: Size) -> tuple[str, str, str]:
    return f"{size.parameters:,}", f"{size.bytes:,}{_COMPUTED}", f"{size.multiply_adds:,}"


def weights_size(folder: str) -> int:
    """Bytes of the model's weight files."""
    return sum(path.stat().st_size for path in Path(folder).glob("model*.safetensors"))


def format_metrics(metrics: dict[str, Any]) -> str:
    """`accuracy 0.8603`, several one below the other; "-" without any."""
    return "\n".join(f"{name} {value:.4f}" for name, value in metrics.items()) or "-"


def print_closing(rows: list[tuple[str, ...]], folder: str) -> None:
    """Print the table, and the line of Python that loads what the run left in `folder`."""
    table = Table(title="What this run made", title_justify="left", box=SIMPLE_HEAD, caption_justify="left")
    table.caption = "multiply-adds: feed-forward layers only; * computed, not on disk"
    table.add_column("network")
    for heading in ("parameters", "bytes on disk", "multiply-adds\nper token"):
        table.add_column(heading, justify="right")
    table.add_column("metric")
    for row in rows:
        table.add_row(*row)
    console = Console(width=WIDTH, highlight=False)
    console.print(table)
    lines = (
        "from transformers import AutoModelForSequenceClassification",
        f"import padnet_hf; model = AutoModelForSequenceClassification.from_pretrained({folder!r})",
    )
    console.print("Load it with", style="bold")
    for line in lines:
        console.print(f"  {line}", soft_wrap=True, markup=False)
