"""What is missing is run, what is done is not; with processes of their own only in the slow test."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from padnet_hf import PADNetError
from studies import one, running
from studies.__main__ import main
from studies.cell.code_version import ROOT, code_version
from studies.cell.settings import Cell
from studies.cell.tasks import TASKS
from studies.results import Row, append, read
from studies.versions import finished
from tests.studies.conftest import TINY, tiny_cell

CELLS = [tiny_cell("dense"), tiny_cell("dynamic"), tiny_cell("pad", ratio=0.5)]


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> list[Cell]:
    """Cells as they are run; none really is. `pad` fails."""
    run: list[Cell] = []

    def pretend(cell: Cell, data_dir: Path, output: Path, log: Path) -> int:
        run.append(cell)
        if cell.method == "pad":
            return 1
        append(output, made_up(cell))
        return 0

    monkeypatch.setattr(running, "run_alone", pretend)
    return run


def made_up(cell: Cell) -> Row:
    return Row(cell, code_version(), {"metrics": {TASKS[cell.task].metric: 0.5 + cell.learning_rate}})


@pytest.mark.parametrize("jobs", [1, 3])
def test_what_is_done_is_skipped_and_what_failed_is_tried_again(jobs: int, log: list[Cell], tmp_path: Path) -> None:
    append(tmp_path, made_up(CELLS[0]))
    assert running.run_missing(CELLS, tmp_path, tmp_path, jobs, "grid") == [CELLS[2]]
    assert set(log) == set(CELLS[1:])
    assert running.run_missing(CELLS, tmp_path, tmp_path, jobs, "grid") == [CELLS[2]]
    assert log.count(CELLS[1]) == 1
    assert log.count(CELLS[2]) == 2


@pytest.mark.parametrize("theirs", [None, "theirs"])
def test_a_cell_finds_the_project_first_and_then_what_the_user_has_on_the_path(
    theirs: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, str] = {}

    def pretend(command: list[str], *, env: dict[str, str], **_: object) -> subprocess.CompletedProcess[str]:
        seen.update(env)
        return subprocess.CompletedProcess(command, 7)

    monkeypatch.setattr(subprocess, "run", pretend)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    if theirs:
        monkeypatch.setenv("PYTHONPATH", theirs)
    assert running.run_alone(CELLS[0], tmp_path, tmp_path, tmp_path / "log") == 7
    assert seen["PYTHONPATH"].split(os.pathsep) == [str(ROOT), *([theirs] if theirs else [])]


def test_results_of_other_code_are_not_taken_for_done(log: list[Cell], tmp_path: Path) -> None:
    append(tmp_path, Row(CELLS[0], "other", made_up(CELLS[0]).values))
    running.run_missing(CELLS[:1], tmp_path, tmp_path, 1, "grid")
    assert log == CELLS[:1]
    assert len(read(tmp_path)) == 2


def test_a_cell_that_was_done_meanwhile_is_not_run(tmp_path: Path) -> None:
    append(tmp_path, made_up(CELLS[0]))
    one.main(json.dumps(CELLS[0].to_json()), str(tmp_path / "no data"), str(tmp_path))
    assert len(read(tmp_path)) == 1


def test_the_search_is_run_before_what_depends_on_it(
    log: list[Cell], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ["--tasks", "mrpc", "--output", str(tmp_path)]
    with pytest.raises(SystemExit, match="2 cells failed"):
        main(["run", "search", "headline", *where, "--seeds", "5", "--data_dir", str(tmp_path)])
    assert [cell.seed for cell in log] == [0] * 3 + [5] * 5
    assert {cell.learning_rate for cell in log[3:]} == {2e-4}  # the best of the made-up metrics
    capsys.readouterr()
    main(["list", "headline", *where, "--seeds", "5"])
    printed = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in printed] == ["done", "done", "missing", "missing", "done"]


def test_a_part_of_a_grid_can_be_run_by_the_words_of_its_cells(log: list[Cell], tmp_path: Path) -> None:
    where = ["--tasks", "mrpc", "--output", str(tmp_path), "--data_dir", str(tmp_path)]
    main(["run", "search", *where])
    main(["run", "sizes", *where, "--only", "method experts,", "ratio 0.5, router_noise False"])
    assert [(cell.method, cell.ratio, cell.router_noise) for cell in log[3:]] == [("experts", 0.5, False)]
    with pytest.raises(PADNetError, match=r"no cell of the grid sizes has 'ratio 0.4': `list sizes` shows"):
        main(["run", "sizes", *where, "--only", "ratio 0.4"])


def test_a_grid_that_a_task_cannot_have_is_empty_and_the_next_one_is_run(log: list[Cell], tmp_path: Path) -> None:
    where = ["--tasks", "cifar10", "--output", str(tmp_path), "--data_dir", str(tmp_path)]
    main(["run", "search", "router", "rates", *where])
    assert [cell.method for cell in log] == ["dynamic"] * 3 + ["dense"] * 2


@pytest.mark.slow
def test_a_real_cell_in_a_process_of_its_own(data_dir: Path, tmp_path: Path) -> None:
    cells = [Cell(**{"task": "mrpc", "method": "pad", "seed": 1, "ratio": 0.5, "rounds": 1, **TINY, "epochs": 1})]
    assert running.run_missing(cells, data_dir, tmp_path, 1, "grid") == []
    row = finished(tmp_path, code_version())[cells[0]].values
    assert row["bytes"] > 1e8
    assert 0 <= row["metrics"]["accuracy"] <= 1
    assert row["environment"]["threads"] == 1
    json.dumps(row)
    before = (tmp_path / "mrpc.jsonl").read_text()
    assert running.run_missing(cells, data_dir, tmp_path, 1, "grid") == []
    assert (tmp_path / "mrpc.jsonl").read_text() == before


@pytest.mark.slow
def test_a_cell_that_fails_leaves_no_row_but_its_last_words(tmp_path: Path) -> None:
    cell = tiny_cell("dense")
    assert running.run_missing([cell], tmp_path / "nothing", tmp_path, 1, "grid") == [cell]
    assert read(tmp_path) == []
    assert "--data_dir" in (tmp_path / "logs" / f"{cell.key()}.log").read_text()


@pytest.mark.slow
def test_a_cell_that_is_killed_is_run_again(data_dir: Path, tmp_path: Path) -> None:
    cell = tiny_cell("dense")
    program = f"import sys; from studies.one import main; main({json.dumps(json.dumps(cell.to_json()))}, *sys.argv[1:])"
    killed = subprocess.Popen([sys.executable, "-c", program, str(data_dir), str(tmp_path)], cwd=running.ROOT)
    while not (tmp_path / "claims").exists():
        assert killed.poll() is None
        time.sleep(0.1)
    killed.kill()
    killed.wait()
    assert read(tmp_path) == []
    assert running.run_missing([cell], data_dir, tmp_path, 1, "grid") == []
    assert [row.cell for row in read(tmp_path)] == [cell]
