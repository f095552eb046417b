"""The table of outcomes, as it is written for the documentation."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.peer_suite.tally import Tally


def make_report(suite: str, test: str, outcome: str, wording: str = "") -> pytest.TestReport:
    longrepr = ("file", 1, wording) if outcome == "skipped" else None
    return pytest.TestReport(f"x.py::{suite}::{test}", ("x.py", 1, test), {}, outcome, longrepr, "call")


def test_numbers_are_written_by_family_class_and_form(tmp_path: Path) -> None:
    tally = Tally(tmp_path / "tally.json")
    for suite, test, outcome in (
        ("TestPADXLMRobertaModel_unit", "test_one", "passed"),
        ("TestPADXLMRobertaModel_unit", "test_other", "passed"),
        ("TestPADXLMRobertaModel_unit", "test_other", "failed"),  # one of its subtests
        ("TestPADBertModel_element", "test_model_parallelism", "skipped"),
    ):
        tally.pytest_runtest_logreport(make_report(suite, test, outcome, "test requires multiple accelerators"))
    lines: list[str] = []
    reporter = SimpleNamespace(write_line=lines.append, section=lambda title, **_: lines.append(title))
    tally.pytest_terminal_summary(reporter)
    assert json.loads((tmp_path / "tally.json").read_text())["families"] == {
        "bert": {"PADBertModel": {"element": {"passed": 0, "skipped": 1, "failed": 0}}},
        "xlm-roberta": {"PADXLMRobertaModel": {"unit": {"passed": 1, "skipped": 0, "failed": 1}}},
    }
    assert not tally.unexplained


def test_a_skip_that_nobody_has_read_fails_the_run() -> None:
    tally = Tally()
    tally.pytest_runtest_logreport(make_report("TestPADBertModel_unit", "test_new", "skipped", "something new"))
    session = SimpleNamespace(exitstatus=pytest.ExitCode.OK)
    tally.pytest_sessionfinish(session)
    assert session.exitstatus == pytest.ExitCode.TESTS_FAILED
    assert tally.unexplained == {"x.py::TestPADBertModel_unit::test_new: something new"}
