"""What every benchmark does with its results: say where they come from, print them, keep them."""

import datetime
import json
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import transformers

from padnet_hf.version import __version__

RESULTS = Path(__file__).parent / "results"


def environment() -> dict[str, Any]:
    """Versions, machine and date."""
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "padnet_hf": __version__,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load_average": os.getloadavg(),
    }


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def verdict(ratio: float, target: float | None) -> str:
    """Whether a ratio is at most its target, for a table."""
    if target is None:
        return ""
    return "met" if ratio <= target else "NOT MET"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Markdown, with columns lined up for reading as plain text too."""
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    rule = ["-" * width for width in widths]
    lines = [[cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in [header, rule, *rows]]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def write_json(folder: Path, name: str, results: dict[str, Any]) -> Path:
    """`results` with `environment()` as folder/name.json."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    path.write_text(json.dumps({"environment": environment(), **results}, indent=1) + "\n")
    return path
