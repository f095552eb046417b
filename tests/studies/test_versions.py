"""Rows of an earlier version count as long as it is shown to give the same results, and not otherwise."""

from pathlib import Path
from typing import Any

import pytest

from benchmarks.device import device
from padnet_hf import PADNetError
from studies import running
from studies.__main__ import main
from studies.cell.code_version import code_version
from studies.cell.settings import Cell
from studies.results import Row, append, metric, read
from studies.versions import cheapest_of_each_kind, finished, same
from tests.studies.conftest import tiny_cell

DENSE, UNIT, ELEMENT = tiny_cell("dense"), tiny_cell("pad", ratio=0.5, granularity="unit"), tiny_cell("pad", ratio=0.5)
OTHER_UNIT = tiny_cell("pad", ratio=0.5, granularity="unit", rounds=1)
HERE = device().type


def row(cell: Cell, code: str, value: float = 0.5, seconds: float = 1.0, **values: Any) -> Row:
    metrics = {"metrics": {"combined_score": value}}
    others = {"processor_seconds": seconds, "device": HERE, "environment": {"code": code}}
    return Row(cell, code, {**metrics, **others, **values})


def test_versions_do_not_mix_by_themselves(tmp_path: Path) -> None:
    for one in (row(DENSE, "a", 0.1), row(DENSE, "b", 0.2), row(UNIT, "c")):
        append(tmp_path, one)
    found = {code: [metric(one) for one in finished(tmp_path, code).values()] for code in "abcd"}
    assert found == {"a": [0.1], "b": [0.2], "c": [0.5], "d": []}


def test_equal_cells_of_every_kind_make_all_rows_count(tmp_path: Path) -> None:
    earlier = [row(DENSE, "a"), row(UNIT, "a", 0.4), row(OTHER_UNIT, "a", 0.3)]
    for one in (*earlier, row(DENSE, "b", seconds=9.0)):
        append(tmp_path, one)
    assert finished(tmp_path, "b").keys() == {DENSE}  # nothing is known of units
    append(tmp_path, row(UNIT, "b", 0.4))
    found = finished(tmp_path, "b")
    assert {cell: one.code for cell, one in found.items()} == {DENSE: "b", UNIT: "b", OTHER_UNIT: "a"}


@pytest.mark.parametrize("changed", [{"value": 0.5 + 1e-15}, {"train_losses": [0.1]}])
def test_one_digit_apart_is_not_the_same(changed: dict[str, Any]) -> None:
    rows = [row(DENSE, "a", 0.1), row(UNIT, "a"), row(OTHER_UNIT, "a"), row(DENSE, "b", 0.1), row(UNIT, "b")]
    assert same(rows, "b") == {"a", "b"}
    assert same([*rows, row(OTHER_UNIT, "b", **changed)], "b") == {"b"}


def test_devices_are_not_held_against_each_other() -> None:
    rows = [row(DENSE, "a"), row(UNIT, "a"), row(OTHER_UNIT, "a", 0.1, device="elsewhere"), row(DENSE, "b")]
    assert same([*rows, row(UNIT, "b"), row(OTHER_UNIT, "b", 0.2)], "b") == {"a", "b"}
    assert same([*rows, row(UNIT, "b", device="elsewhere")], "b") == {"b"}  # nothing is known of units


def test_what_holds_for_two_versions_holds_for_the_third() -> None:
    rows = [row(DENSE, "a"), row(UNIT, "a"), row(UNIT, "b"), row(DENSE, "b"), row(ELEMENT, "b", 0.2)]
    chain = [row(DENSE, "c"), row(UNIT, "c"), row(ELEMENT, "c", 0.2)]
    assert same([*rows, *chain], "c") == {"a", "b", "c"}
    assert same([*rows, *chain], "a") == {"a"}  # of elements, a knows nothing
    assert same([*rows, *chain[:2]], "c") == {"a", "c"}


def test_of_two_versions_that_contradict_each_other_one_counts() -> None:
    rows = [row(UNIT, "c"), row(UNIT, "a"), row(OTHER_UNIT, "a", 0.1), row(UNIT, "b"), row(OTHER_UNIT, "b", 0.2)]
    assert same(rows, "c") == {"a", "c"}


def test_the_cheapest_cell_of_each_kind_stands_for_it() -> None:
    rows = [row(DENSE, "a"), row(OTHER_UNIT, "a", seconds=3.0), row(UNIT, "a", seconds=2.0), row(ELEMENT, "a")]
    assert set(cheapest_of_each_kind(rows)) == {DENSE, UNIT, ELEMENT}


@pytest.mark.parametrize("is_equal", [True, False])
def test_confirm_runs_them_again_and_says_what_it_found(
    is_equal: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def pretend(cell: Cell, data_dir: Path, output: Path, log: Path) -> int:
        append(output, row(cell, code_version(), 0.5 if is_equal or cell == DENSE else 0.6))
        return 0

    monkeypatch.setattr(running, "run_alone", pretend)
    elsewhere = row(
        tiny_cell("pad", ratio=0.5, granularity="unit", rounds=2), "before", seconds=0.1, device="elsewhere"
    )
    for one in (row(DENSE, "before"), row(UNIT, "before"), row(OTHER_UNIT, "before", seconds=2.0), elsewhere):
        append(tmp_path, one)
    words = ["confirm", "bef", "--data_dir", str(tmp_path), "--output", str(tmp_path)]
    if is_equal:
        main(words)
    else:
        with pytest.raises(SystemExit, match="gives other results than before"):
            main(words)
    printed = capsys.readouterr().out
    assert f"equal: {DENSE.title()}" in printed
    assert f"{'equal' if is_equal else 'differs in metrics'}: {UNIT.title()}" in printed
    assert (OTHER_UNIT in finished(tmp_path, code_version())) == is_equal
    assert len(read(tmp_path)) == 6
    with pytest.raises(PADNetError, match="results of 0 versions of the code nothing"):
        main(["confirm", "nothing", "--data_dir", str(tmp_path), "--output", str(tmp_path)])


def test_confirm_does_not_judge_while_cells_are_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "run_alone", lambda *_: 0)  # as where another process is at the cell
    append(tmp_path, row(DENSE, "before"))
    with pytest.raises(SystemExit, match="not all cells are there"):
        main(["confirm", "bef", "--data_dir", str(tmp_path), "--output", str(tmp_path)])


def test_confirm_needs_every_kind_to_have_been_run_on_a_device_like_this_one(tmp_path: Path) -> None:
    for one in (row(DENSE, "before"), row(UNIT, "before", device="elsewhere")):
        append(tmp_path, one)
    with pytest.raises(
        PADNetError, match=f"not every kind of cell of before was run on '{HERE}', .*: confirm it where"
    ):
        main(["confirm", "bef", "--data_dir", str(tmp_path), "--output", str(tmp_path)])
