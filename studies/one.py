"""One cell in a process of its own, its row appended: what `python -m studies run` starts for each cell.

python -m studies.one JSON DATA_DIR OUTPUT
"""

import json
import sys
from pathlib import Path

from benchmarks.results import environment
from studies.cell.code_version import code_version
from studies.cell.experiment import run
from studies.cell.settings import Cell
from studies.results import Row, append, claim
from studies.versions import finished


def main(found: str, data_dir: str, output: str) -> None:
    """Run the cell, unless another process is at it or has done it."""
    cell, folder, code = Cell.from_json(json.loads(found)), Path(output), code_version()
    with claim(folder, cell, code) as is_ours:
        if is_ours and cell not in finished(folder, code):
            append(folder, Row(cell, code, {**run(cell, Path(data_dir)), "environment": environment()}))


if __name__ == "__main__":
    main(*sys.argv[1:])
