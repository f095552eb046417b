"""docs/study.md says what the study does."""

import re
import shlex
from itertools import product
from pathlib import Path

import pytest

from studies import running
from studies.__main__ import main
from studies.board import Board
from studies.cell.arguments import fewer_copies
from studies.cell.code_version import ROOT, code_version
from studies.cell.settings import Cell
from studies.cell.tasks import TASKS
from studies.grids import FAMILIES, GRIDS, TEXTS
from studies.grounds import GROUNDS
from studies.report import sections
from studies.results import Row, append
from tests.studies.test_report import ENVIRONMENT, rows

DOCUMENT = (ROOT / "docs" / "study.md").read_text(encoding="utf-8")
COMMANDS = [
    line.split("#")[0].strip()
    for block in re.findall(r"```bash\n(.*?)```", DOCUMENT, re.DOTALL)
    for line in block.splitlines()
]


def test_the_commands_work_one_after_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """All but the training, which takes hours; tests/studies/test_running.py has some of it."""
    run: list[Cell] = []

    def pretend(cell: Cell, data_dir: Path, output: Path, log: Path) -> int:
        run.append(cell)
        metrics = {TASKS[cell.task].metric: 0.5}
        append(output, Row(cell, code_version(), {
            "metrics": metrics, "bytes": 1e8, "processor_seconds": 1.0, "device": "cpu", "environment": ENVIRONMENT,
            "layer_ratios": {"one": 0.5, "two": 0.5}, "data_order": "same", "usage": {}, "metrics_by_epoch": [],
        }))  # fmt: skip
        return 0

    monkeypatch.setattr(running, "run_alone", pretend)
    monkeypatch.setattr("os.nice", lambda value: value)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "study.md").write_text(DOCUMENT)
    assert len(COMMANDS) >= 7
    for command in COMMANDS:
        start = "python -m studies "
        assert command.startswith(start)
        main([*shlex.split(command.removeprefix(start)), "--output", str(tmp_path)])
    assert {cell.task for cell in run} == {*TEXTS, "cifar10"}
    assert {cell.train_samples for cell in run} > {None}
    assert "| PAD unit 0.5 " in (tmp_path / "docs" / "study.md").read_text()
    assert "missing" not in capsys.readouterr().out


def test_its_blocks_are_those_that_the_report_fills() -> None:
    found: dict[str, set[str]] = {}
    for ground, (family, tasks) in product(GROUNDS, FAMILIES.items()):
        board = Board(rows(tasks=tasks, ground_name=ground), GROUNDS[ground], tasks)
        found.setdefault(ground, set()).update(sections(board, f"{ground}_{family}", []))
    blocks = set(re.findall(r"<!-- studies: (\w+) -->", DOCUMENT))
    assert {"full_texts_headline", "full_images_headline"} < blocks
    assert found["short"] < blocks < found["short"] | found["full"]  # of "full", those grids that were run


def test_its_tables_name_every_grid_and_ground_and_the_numbers_of_the_short_one() -> None:
    for name in ("search", *GRIDS, *GROUNDS):
        assert f"| `{name}`" in DOCUMENT
    budgets = GROUNDS["short"].budgets
    cells = re.search(r"\| `short`.*", DOCUMENT)[0].split("|")[2:6]
    for task, cell in zip(TEXTS, cells, strict=True):
        samples, epochs = re.search(r"(\S+) .*, (\d+) epochs", cell).groups()
        assert (samples, int(epochs)) == (_words(budgets[task]["train_samples"]), budgets[task]["epochs"])
    assert f"{fewer_copies(8, 0.5)} of 8 at 0.5" in DOCUMENT


def _words(samples: int | None) -> str:
    return "all" if samples is None else f"{samples:,}"
