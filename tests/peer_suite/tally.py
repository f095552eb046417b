"""What became of every test, as a table of classes and forms, and the reasons of skips."""

import json
from collections import Counter, defaultdict
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from padnet_hf.models.known import KNOWN
from tests.peer_suite.skips import explain

OUTCOMES = ("passed", "skipped", "failed")


class Tally:
    """A pytest plugin. Fails the run if a test is skipped for a reason that skips.py does not know.

    Args:
        file: where to write the table as JSON, if anywhere.
    """

    def __init__(self, file: Path | None = None) -> None:
        self.file = file
        self.outcomes: dict[tuple[str, str, str], str] = {}
        self.reasons: Counter[str] = Counter()
        self.unexplained: set[str] = set()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note the outcome of a test, the worst of its subtests'."""
        if (key := _class_form_test(report.nodeid)) is None or (report.when != "call" and report.passed):
            return
        before = self.outcomes.get(key, "passed")
        self.outcomes[key] = max(before, report.outcome, key=OUTCOMES.index)
        if report.skipped and before != "skipped":
            wording = str(report.longrepr[-1])
            reason = explain(wording, key[0], key[2])
            if reason is None:
                self.unexplained.add(f"{report.nodeid}: {wording}")
            self.reasons[reason or wording] += 1

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """An unexplained skip is a failure."""
        if self.unexplained and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """The tables."""
        if not self.outcomes:
            return
        write = terminalreporter.write_line
        counts = self._counts()
        if self.file is not None:
            self.file.write_text(json.dumps(_by_family(counts), indent=2) + "\n", encoding="utf-8")
        terminalreporter.section(" / ".join(OUTCOMES))
        for class_name, forms in sorted(counts.items()):  # not as processes happened to end
            cells = (f"{form} {' / '.join(str(count[o]) for o in OUTCOMES)}" for form, count in sorted(forms.items()))
            write(f"{class_name:34}" + "".join(f"{cell:26}" for cell in cells))
        terminalreporter.section("skipped because")
        for reason, count in self.reasons.most_common():
            write(f"{count:6}  {reason}")
        if self.unexplained:
            terminalreporter.section("skipped, but not in skips.py: read why, and add it or mend the model", red=True)
            for line in sorted(self.unexplained):
                write(line)

    def _counts(self) -> dict[str, dict[str, Counter[str]]]:
        """Class -> form -> outcome -> number of tests."""
        counts: dict[str, dict[str, Counter[str]]] = defaultdict(lambda: defaultdict(Counter))
        for (class_name, form, _), outcome in self.outcomes.items():
            counts[class_name][form][outcome] += 1
        return counts


def _by_family(counts: Mapping[str, Mapping[str, Counter[str]]]) -> dict[str, Any]:
    """What is written as JSON: the version of the tests, and family -> class -> form -> outcome -> number of tests."""
    families: dict[str, dict[str, Any]] = defaultdict(dict)
    for class_name, forms in sorted(counts.items()):
        fitting = (dense for dense, prefix in KNOWN.items() if class_name.startswith(prefix))
        family = max(fitting, key=len)  # PADQwen3Moe... begins as PADQwen3... does
        families[family][class_name] = {
            form: {outcome: count[outcome] for outcome in OUTCOMES} for form, count in sorted(forms.items())
        }
    return {"transformers": metadata.version("transformers"), "families": dict(sorted(families.items()))}


def _class_form_test(nodeid: str) -> tuple[str, str, str] | None:
    """PAD class, form and test of a node like test_x.py::TestPADBertModel_unit::test_training; None for others."""
    *_, suite, test = nodeid.split("::")
    class_name, _, form = suite.removeprefix("Test").partition("_")
    return (class_name, form, test) if form and suite.startswith("Test") else None
