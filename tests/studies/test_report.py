"""Reports of made-up rows."""

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from padnet_hf import PADNetError
from studies.__main__ import main
from studies.board import Board
from studies.cell.code_version import code_version
from studies.grids import GRIDS, TEXTS, expand
from studies.grounds import GROUNDS
from studies.report import sections
from studies.results import Row, append

LEVELS = {"dense": 0.7, "dynamic": 0.8, "pad": 0.85, "prune": 0.6, "experts": 0.75, "experts_used": 0.65}
USAGE = {"one": [0.25, 0.25, 0.25, 0.25], "two": [0.5, 0.0, 0.5, 0.0]}
ENVIRONMENT = {"processor": "made up", "torch": "1", "transformers": "2"}


def rows(
    code: str = "a", tasks: Sequence[str] = TEXTS, grids: Sequence[str] = tuple(GRIDS), ground_name: str = "short"
) -> list[Row]:
    """A row for every cell: a level of the method, and noise of the seed that all methods share."""
    ground, values, found = GROUNDS[ground_name], {}, []
    for grid in ("search", *grids):
        for cell in expand(grid, ground, tasks, (1, 2, 3), values):
            noise = random.Random(f"{cell.task} {cell.seed}").uniform(-0.05, 0.05)
            values[cell] = LEVELS[cell.method] + noise - abs(cell.learning_rate - 2e-4) * 100
            measures = dict.fromkeys(("combined_score", "matthews_correlation", "accuracy"), values[cell])
            found.append(Row(cell, code, {
                "metrics": measures, "bytes": 1e8 * LEVELS[cell.method], "processor_seconds": 36.0, "device": "cpu",
                "environment": ENVIRONMENT, "data_order": "same", "layer_ratios": {"one": 0.25, "two": 0.75},
                "metrics_by_epoch": [measures] * cell.epochs if cell.train_samples is None else [],
                "train_losses": [0.5] * cell.epochs,
                "usage": {} if cell.method == "dense" or cell.task not in TEXTS else USAGE,
            }))  # fmt: skip
    return found


def column(table: str, name: str) -> dict[str, str]:
    """First cell of a row -> the cell under this header."""
    header, _, *lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    return {line[0]: line[header.index(name)] for line in lines}


def references(paired: str, method: str) -> dict[str, str]:
    """What a method is held against -> the difference over all tasks."""
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in paired.splitlines()]
    return {line[1]: line[lines[0].index("average")] for line in lines if line[0] == method}


def test_means_deviations_and_sizes_are_those_of_the_rows() -> None:
    made = rows(tasks=["mrpc"], grids=["headline"])
    table = sections(Board(made, GROUNDS["short"], TEXTS), "short", [])["short_headline"]
    noise = [random.Random(f"mrpc {seed}").uniform(-0.05, 0.05) for seed in (1, 2, 3)]
    middle = sum(noise) / 3
    deviation = (sum((value - middle) ** 2 for value in noise) / 2) ** 0.5
    assert column(table, "mrpc")["fully dynamic"] == f"{80 + 100 * middle:.1f} ± {100 * deviation:.1f} (3)"
    assert column(table, "MB")["PAD unit 0.5"] == "85.0"
    assert list(column(table, "MB")) == [
        "dense", "fully dynamic", "PAD unit 0.5", "PAD element 0.5", "pruned element 0.5",
    ]  # fmt: skip


def test_differences_are_paired_so_that_what_seeds_share_does_not_count() -> None:
    table = sections(Board(rows(), GROUNDS["short"], TEXTS), "short", [])["short_headline_paired"]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    assert cells[0] == ["method", "against", *TEXTS, "average", "95 %", "pairs"]
    found = {tuple(line[:2]): line[2:] for line in cells[2:]}
    for names, points in {
        ("PAD unit 0.5", "fully dynamic"): "+5.0",
        ("PAD element 0.5", "pruned element 0.5"): "+25.0",
        ("PAD element 0.5", "PAD unit 0.5"): "+0.0",
        ("PAD element 0.5", "5 experts (for 0.5)"): "+10.0",
        ("fully dynamic", "dense"): "+10.0",
    }.items():
        assert found[names] == [*[points] * 5, f"{points} to {points}", "12"]


def test_every_grid_has_its_tables_and_changes_stand_against_the_unchanged() -> None:
    found = sections(Board(rows(), GROUNDS["short"], TEXTS), "short", [])
    assert {f"short_{grid}" for grid in GRIDS} < set(found)
    assert "| PAD unit 0.5, rounds 10" in found["short_choices"]
    assert references(found["short_choices_paired"], "PAD unit 0.5, rounds 10") == {"PAD unit 0.5": "+0.0"}
    assert "| the 5 most used of 8 experts" in found["short_sizes"]
    assert column(found["short_choice"], "learning rate") == dict.fromkeys(TEXTS, "0.0002")


def test_dense_stands_against_itself_with_the_usual_budget_and_learning_rate() -> None:
    tables = sections(Board(rows(), GROUNDS["short"], TEXTS), "short", [])
    assert references(tables["short_headline_paired"], "dense") == {}
    assert references(tables["short_rates_paired"], "dense, learning_rate 0.0001") == {"dense": "-1.0"}
    assert references(tables["short_budgets_paired"], "dense, epochs 4") == {"dense": "+0.0"}


@pytest.mark.parametrize(
    ("grid", "change", "base", "dense"),
    [
        ("router", ", no noise", "", "dense"),
        ("recipes", ", no noise, router_lr 10.0", ", no noise", "dense"),
        ("budgets", ", no noise, epochs 4", ", no noise", "dense, epochs 4"),
    ],
)
def test_a_change_stands_against_the_others_that_can_have_it_and_what_it_starts_from(
    grid: str, change: str, base: str, dense: str
) -> None:
    found = sections(Board(rows(), GROUNDS["short"], TEXTS), "short", [])[f"short_{grid}_paired"]
    dynamic, pad = f"fully dynamic{change}", f"PAD unit 0.5{change}"
    assert references(found, dynamic) == {dense: "+10.0", f"fully dynamic{base}": "+0.0"}
    of_its_size = {"5 experts (for 0.5), no noise": "+10.0"} if grid == "router" else {}
    assert references(found, pad) == {dense: "+15.0", dynamic: "+5.0", f"PAD unit 0.5{base}": "+0.0", **of_its_size}


def test_an_average_says_if_it_is_over_fewer_tasks_than_the_table_has() -> None:
    quiet, tasks = {"method": "dynamic", "router_noise": False}, ["mrpc", "cola", "stsb"]
    for missing, average in ((["stsb"], "+5.0 (of 2)"), (["cola", "stsb"], "")):
        made = [
            row
            for row in rows(tasks=tasks, grids=["headline", "router"])
            if row.cell.task not in missing or not quiet.items() <= row.cell.changed().items()
        ]
        paired = sections(Board(made, GROUNDS["short"], TEXTS), "short", [])["short_router_paired"]
        assert references(paired, "PAD unit 0.5, no noise")["fully dynamic, no noise"] == average


def test_what_is_not_measured_yet_is_left_out() -> None:
    made = [row for row in rows(tasks=["mrpc", "cola"], grids=["headline"]) if row.cell.seed < 2]
    made = [row for row in made if (row.cell.task, row.cell.method) != ("cola", "pad")]
    found = sections(Board(made, GROUNDS["short"], TEXTS), "short", [])
    assert set(found) == {f"short_{name}" for name in ("origin", "choice", "headline", "headline_paired", "routing")}
    assert column(found["short_headline"], "cola")["PAD unit 0.5"] == ""
    assert column(found["short_headline"], "average")["PAD unit 0.5"] == ""
    assert "±" not in found["short_headline"]
    assert " to " not in found["short_headline_paired"]


def test_a_grid_run_on_one_task_has_no_empty_columns_and_no_average_of_one() -> None:
    board = Board([*rows(grids=["headline"]), *rows(tasks=["sst2"])], GROUNDS["short"], TEXTS)
    found = sections(board, "short", [])
    headers = {name: [cell.strip() for cell in text.splitlines()[0].split("|")[1:-1]] for name, text in found.items()}
    assert headers["short_headline"] == ["method", "MB", *TEXTS, "average"]
    assert headers["short_choices"] == ["method", "MB", "sst2"]
    assert headers["short_choices_paired"] == ["method", "against", "sst2", "95 %", "pairs"]


def test_a_learning_rate_that_a_task_has_anyway_is_no_change_on_it() -> None:
    board = Board(rows(), GROUNDS["short"], TEXTS)
    assert set(board.found({"method": "dense"})) == set(TEXTS)
    assert set(board.found({"method": "dense", "learning_rate": 1e-4})) == set(TEXTS)
    assert board.found({"method": "dense", "learning_rate": 2e-4}) == {}


def test_experts_in_use_are_as_many_equal_ones_as_have_the_entropy_of_the_gates() -> None:
    found = sections(Board(rows(), GROUNDS["short"], TEXTS), "short", [])["short_routing"]
    assert column(found, "mrpc")["fully dynamic"] == "3.0 (2.0)"
    assert "dense" not in column(found, "mrpc")


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """Rows of this code on one task, and some of other code."""
    for row in rows(code_version(), ["mrpc"]):
        append(tmp_path, row)
    for row in rows("0123456789ab", ["mrpc"], ["headline"]):
        append(tmp_path, Row(row.cell, row.code, {**row.values, "bytes": 1e9}))
    return tmp_path


def test_the_command_draws_fills_and_keeps_versions_apart(output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document = output / "study.md"
    other = "<!-- benchmarks: imp -->\n<!-- /benchmarks -->\n"
    document.write_text(f"<!-- studies: short_texts_headline -->\n<!-- /studies -->\n{other}")
    main(["report", "--output", str(output), "--fill", str(document)])
    printed = capsys.readouterr().out
    assert "18 of code 0123456789ab" in printed
    assert "1000.0" not in printed
    assert "| PAD unit 0.5 " in document.read_text()
    assert document.read_text().endswith(other)
    for name in ("size", "ratio", "layers"):
        assert (output / f"short_texts_{name}.png").read_bytes().startswith(b"\x89PNG")
    main(["report", "--output", str(output), "--code", "0123"])
    printed = capsys.readouterr().out
    assert "1000.0" in printed
    assert "85.0" not in printed


def test_grounds_have_reports_of_their_own(output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for row in rows(code_version(), ["mrpc"], ["headline"], "full"):
        append(output, row)
    for ground, count in (("full", 18), ("short", len(rows(tasks=["mrpc"])))):
        main(["report", "--output", str(output), "--ground", ground])
        printed = capsys.readouterr().out
        assert f"## {ground}_texts_headline\n" in printed
        assert f"Cells: {count}, " in printed
        assert "In no table" not in printed
        has_epochs = (output / f"{ground}_texts_epochs.png").exists()
        assert has_epochs == (ground == "full")  # the short one does not evaluate every epoch


def test_without_rows_of_the_code_there_is_no_report(tmp_path: Path) -> None:
    for row in rows("0123456789ab", ["mrpc"], ["headline"]):
        append(tmp_path, row)
    with pytest.raises(PADNetError, match=r"of 0 versions of the code .* --code.* 0123456789ab \(18\)"):
        main(["report", "--output", str(tmp_path)])


def test_rows_that_are_in_no_table_are_counted() -> None:
    made = rows(tasks=["mrpc"])
    assert "In no table" not in sections(Board(made, GROUNDS["short"], TEXTS), "short", [])["short_origin"]
    earlier = [Row(replace(row.cell, train_samples=1234), row.code, row.values) for row in made[-2:]]
    said = sections(Board([*made, *earlier], GROUNDS["short"], TEXTS), "short", [])["short_origin"]
    assert f"Cells: {len({row.cell for row in made})}, " in said
    assert "In no table, as those of earlier budgets: 2 more." in said


def test_rows_that_saw_the_data_in_another_order_are_told() -> None:
    made = rows(tasks=["mrpc"], grids=["headline"])
    assert "another order" not in sections(Board(made, GROUNDS["short"], TEXTS), "short", [])["short_origin"]
    last = made[-1]
    made[-1] = Row(last.cell, last.code, {**last.values, "data_order": "other"})
    said = sections(Board(made, GROUNDS["short"], TEXTS), "short", [])["short_origin"]
    assert "Cells that saw the data in another order than the rest: 1" in said
