from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from benchmarks import tune_convolutions
from benchmarks.timing import Quartiles
from benchmarks.tune_convolutions import CANDIDATES, Row, main, measure, table
from padnet_hf.layers.conv_paths import ConvPaths, paths


def test_the_quick_form_measures_every_constant_and_writes_a_table_that_loads(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before, path = paths(), tmp_path / "new" / "conv_paths.json"
    main(["--quick", "--rounds", "1", "--clock", "processor", "--output", str(path)])
    found = ConvPaths.from_file(path)
    printed = capsys.readouterr().out
    assert paths() == before
    assert list(path.parent.iterdir()) == [path]
    for field in fields(ConvPaths):
        assert getattr(found, field.name) in (getattr(before, field.name), *CANDIDATES[field.name])
        assert f"| {field.name} " in printed
    assert f"PADNET_CONV_PATHS={path}" in printed


def test_candidates_are_of_every_constant_with_its_default_among_them() -> None:
    assert set(CANDIDATES) == {field.name for field in fields(ConvPaths)}
    for name, values in CANDIDATES.items():
        assert getattr(ConvPaths(), name) in values
        for value in values:
            replace(ConvPaths(), **{name: value})


@pytest.mark.parametrize(
    ("faster", "best", "taken"),
    [([0.8, 0.8, 0.8, 0.9], 32, True), ([0.8, 0.8, 1.1, 1.2], 32, False), ([1.1, 1.2, 1.1, 1.2], 16, False)],
)
def test_only_what_is_faster_by_more_than_the_spread_is_taken(
    faster: list[float], best: int, taken: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[ConvPaths] = []

    def timed(calls: Mapping[str, Callable[[], object]], *_: object) -> dict[str, list[float]]:
        for call in calls.values():
            call()
        return {name: faster if name == "32" else [1.0] * 4 if name == "16" else [2.0] * 4 for name in calls}

    monkeypatch.setattr(tune_convolutions, "interleaved", timed)
    row = measure(SimpleNamespace(run=ran.append), replace(ConvPaths(), apart=7.0), "lanes", 4, "wall")
    assert (row.name, row.used, row.best, row.is_better) == ("lanes", 16, best, taken)
    assert [(one.lanes, one.apart) for one in ran] == [(1, 7.0), (8, 7.0), (16, 7.0), (32, 7.0)]


def test_the_table_says_what_was_taken() -> None:
    rows = [
        Row("lanes", 16, 32, Quartiles(0.8, 0.9, 0.95)),
        Row("apart", 1.0, 2.0, Quartiles(0.9, 0.98, 1.0)),
        Row("narrow", 100, 100, Quartiles(1.0, 1.0, 1.0)),
    ]
    lines = table(rows).splitlines()[2:]
    assert [line.split("|")[-2].strip() for line in lines] == ["taken", "within the spread", "within the spread"]
    assert "0.90 [0.80, 0.95]" in lines[0]
