"""Rows survive whatever ends a process, and are run and counted once."""

import json
import multiprocessing
import os
import signal
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from studies.results import Row, append, claim, metric, read
from tests.studies.conftest import tiny_cell

FIRST, SECOND = tiny_cell("dense"), tiny_cell("dynamic", moe_layers=(0, 1))


def row(cell: object, value: float = 0.5, code: str = "a") -> Row:
    return Row(cell, code, {"metrics": {"combined_score": value}})


def test_a_row_comes_back_as_it_was(tmp_path: Path) -> None:
    rows = [row(FIRST), row(SECOND, 0.25)]
    for one in rows:
        append(tmp_path, one)
    assert read(tmp_path) == rows
    assert [metric(one) for one in read(tmp_path)] == [0.5, 0.25]
    assert (tmp_path / "mrpc.jsonl").read_text().count("\n") == 2


@pytest.mark.parametrize("torn", ['{"cell": {"task": "m', "{}", '{"cell"\x00\x00'])
def test_a_torn_last_line_is_dropped(torn: str, tmp_path: Path) -> None:
    append(tmp_path, row(FIRST))
    path = tmp_path / "mrpc.jsonl"
    whole = path.read_text()
    path.write_text(whole + torn)
    assert read(tmp_path) == [row(FIRST)]
    append(tmp_path, row(SECOND))
    assert read(tmp_path) == [row(FIRST), row(SECOND)]
    assert path.read_text().startswith(whole)


def test_of_a_cell_done_twice_the_first_row_counts(tmp_path: Path) -> None:
    append(tmp_path, row(FIRST, 0.1))
    append(tmp_path, row(FIRST, 0.2))
    assert [metric(one) for one in read(tmp_path)] == [0.1]


def test_a_row_with_fields_of_later_code_is_left_alone_and_missing_fields_have_their_default(tmp_path: Path) -> None:
    later, earlier = FIRST.to_json() | {"telepathy": 0.1}, FIRST.to_json()
    del earlier["warm_share"]
    lines = [json.dumps({"cell": cell, "code": "a", "metrics": {}}) for cell in (later, earlier)]
    (tmp_path / "mrpc.jsonl").write_text("\n".join(lines) + "\n")
    assert [one.cell for one in read(tmp_path)] == [FIRST]


def hold(folder: Path, connection: Connection) -> None:
    with claim(folder, FIRST, "a") as is_ours:
        connection.send(is_ours)
        signal.pause()


def test_a_cell_belongs_to_one_process_until_that_is_killed(tmp_path: Path) -> None:
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    process = multiprocessing.get_context("spawn").Process(target=hold, args=(tmp_path, theirs))
    process.start()
    assert ours.recv()
    with claim(tmp_path, FIRST, "a") as is_ours:
        assert not is_ours
    with claim(tmp_path, SECOND, "a") as is_ours:
        assert is_ours
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    with claim(tmp_path, FIRST, "a") as is_ours:
        assert is_ours
