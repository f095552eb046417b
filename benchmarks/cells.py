"""A table of training runs: each cell is one run of an example's script in a process of its own.

Finished cells are skipped, so a table that was stopped goes on where it was.
"""

import json
import math
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import safe_open

from padnet_hf.hub.whole_files import write_text

Row = dict[str, Any]


@dataclass(frozen=True)
class Cell:
    """One run.

    names: what tells it from the others, for its folder and its row.
    arguments: of the script.
    measures: key in the row -> key in the script's all_results.json.
    notes: what else the row says.
    """

    names: Mapping[str, str]
    arguments: Sequence[str]
    measures: Mapping[str, str]
    notes: Mapping[str, str] = field(default_factory=dict)


def run_table(script: Path, cells: Iterable[Cell], output: Path, table: Callable[[list[Row]], str]) -> list[Row]:
    """Run what is missing, print the table after every cell, and write its rows as JSON beside the cells."""
    rows = []
    for cell in cells:
        rows.append(run_cell(script, cell, output))
        print(table(rows), flush=True)
    (output / "table.json").write_text(json.dumps(rows, indent=2) + "\n")
    return rows


def run_cell(script: Path, cell: Cell, output: Path) -> Row:
    """The row of one cell: names, measures, parameters, bytes and processor seconds; run unless it is there already."""
    folder = output.joinpath(*(name.replace(" ", "_") for name in cell.names.values()))
    done = folder / "cell.json"
    if done.exists():
        return json.loads(done.read_text())
    used_before = processor_seconds()
    command = [sys.executable, str(script), *cell.arguments, "--output_dir", str(folder)]
    subprocess.run(command, check=True, env=os.environ)
    results = json.loads((folder / "all_results.json").read_text())
    row = {
        **cell.names,
        **cell.notes,
        **{name: results[measure] for name, measure in cell.measures.items()},
        "parameters": stored_parameters(folder),
        "bytes": sum(file.stat().st_size for file in weight_files(folder)),
        "processor_seconds": processor_seconds() - used_before,
    }
    write_text(done, json.dumps(row))
    return row


def processor_seconds() -> float:
    """Used by finished child processes: unlike the time on the clock, hardly moved by other work on the machine."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def weight_files(folder: Path) -> list[Path]:
    """What the run trained, as files: a model's, or an adapter's without its base."""
    return [*folder.glob("model*.safetensors"), *folder.glob("adapter_model.safetensors")]


def stored_parameters(folder: Path) -> int:
    """Floating-point values in the checkpoint, from its headers."""
    count = 0
    for path in weight_files(folder):
        with safe_open(path, "pt") as file:
            slices = [file.get_slice(name) for name in file.keys()]  # noqa: SIM118 - not a dict
            count += sum(math.prod(part.get_shape()) for part in slices if part.get_dtype().startswith(("F", "BF")))
    return count
