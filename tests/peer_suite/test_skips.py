"""No entry of skips.py outlives what it is about."""

from pathlib import Path

import pytest
import transformers_own_tests
from transformers import testing_utils

from tests.peer_suite.skips import OURS, THEIRS, Skip
from tests.peer_suite.test_families import SUITES as ALL_SUITES

SUITES = {suite.__name__.removeprefix("Test"): dir(suite) for suite in ALL_SUITES}
SOURCES = [
    path.read_text(encoding="utf-8")
    for path in (*Path(transformers_own_tests.__path__[0]).glob("*.py"), Path(testing_utils.__file__))
]


@pytest.mark.parametrize("skip", [*OURS, *THEIRS], ids=lambda skip: f"{skip.reason} {skip.wording}")
def test_there_are_such_tests_and_classes(skip: Skip) -> None:
    for start in skip.classes:
        assert any(
            skip.fits(name, test) for name, tests in SUITES.items() if name.startswith(start) for test in tests
        ), f"{start}: {skip}"


@pytest.mark.parametrize("wording", {skip.wording: None for skip in THEIRS})
def test_transformers_words_it_so(wording: str) -> None:
    assert any(wording in source for source in SOURCES)
