"""Runs what is missing of a grid, each cell in a process of its own."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tqdm.auto import tqdm

from studies.cell.code_version import ROOT, code_version
from studies.cell.settings import Cell
from studies.versions import finished

_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "OMP_WAIT_POLICY": "passive",
    "HF_HUB_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "0",
}
"""A thread for each process: the models are small, and results must not depend on how many run at a time."""


def run_missing(cells: Sequence[Cell], data_dir: Path, output: Path, jobs: int, title: str) -> list[Cell]:
    """Run the cells that have no row of this code yet, `jobs` at a time; those that failed.

    What each cell prints goes to output/logs/. A cell that another process is at is left to it.
    """
    done = finished(output, code_version())
    missing = [cell for cell in cells if cell not in done]
    failed = []
    (output / "logs").mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(jobs) as pool, tqdm(total=len(cells), initial=len(cells) - len(missing), desc=title) as bar:

        def one(cell: Cell) -> None:
            bar.set_postfix_str(cell.title())
            log = output / "logs" / f"{cell.key()}.log"
            if run_alone(cell, data_dir, output, log):
                failed.append(cell)
                bar.write(f"failed: {cell.title()}; its last words are in {log}")
            bar.update()

        list(pool.map(one, missing))
    return failed


def run_alone(cell: Cell, data_dir: Path, output: Path, log: Path) -> int:
    """Exit status of a new process that runs the cell."""
    words = [json.dumps(cell.to_json()), str(data_dir.resolve()), str(output.resolve())]
    folders = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    with log.open("w") as file:
        return subprocess.run(
            [sys.executable, "-m", "studies.one", *words],
            cwd=ROOT,
            env={**os.environ, **_ENVIRONMENT, "PYTHONPATH": os.pathsep.join(folders)},
            stdout=file,
            stderr=subprocess.STDOUT,
            check=False,
        ).returncode
