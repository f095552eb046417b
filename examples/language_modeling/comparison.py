"""Models that run_clm.py left in folders, side by side."""

import json
from collections.abc import Mapping
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from transformers import AutoModelForCausalLM

from clm_model import AUTO_CLASS
from padnet_hf.jobs.closing import WIDTH, weights_size
from padnet_hf.jobs.networks import size_report, variant_of

_HEADINGS = ("perplexity", "bits\nper byte", "parameters", "bytes on disk", "multiply-adds\nper token")


def print_comparison(folders: Mapping[str, Path]) -> None:
    """Print a row for the model in each folder, by its name."""
    table = Table(title="Side by side", title_justify="left", box=SIMPLE_HEAD, caption_justify="left")
    table.caption = "on text that was held out; multiply-adds: feed-forward layers only"
    table.add_column("network")
    for heading in _HEADINGS:
        table.add_column(heading, justify="right")
    for name, folder in folders.items():
        table.add_row(name, *compared(folder))
    Console(width=WIDTH, highlight=False).print(table)


def compared(folder: Path) -> tuple[str, ...]:
    """Perplexity, bits per byte, parameters, bytes on disk and multiply-adds per token of the model in a folder."""
    measured = json.loads((folder / "all_results.json").read_text(encoding="utf-8"))
    model = AutoModelForCausalLM.from_pretrained(folder)
    report = size_report(model, AUTO_CLASS)
    size = report.dense if variant_of(model.config) == "dense" else report.current
    numbers = (model.num_parameters(), weights_size(str(folder)), size.multiply_adds)
    return (
        f"{measured['eval_perplexity']:.2f}",
        f"{measured['eval_bits_per_byte']:.4f}",
        *(f"{number:,}" for number in numbers),
    )
