"""No entry of skips.py outlives what it is about."""

from pathlib import Path

import pytest
import transformers_own_tests
from transformers import testing_utils

from tests.peer_suite import test_pad_bert, test_pad_resnet
from tests.peer_suite.skips import OURS, THEIRS, Skip

SUITES = {suite.__name__: suite for suite in (*test_pad_bert.SUITES, *test_pad_resnet.SUITES)}
SOURCES = [*Path(transformers_own_tests.__path__[0]).glob("*.py"), Path(testing_utils.__file__)]


@pytest.mark.parametrize("skip", [*OURS, *THEIRS.values()], ids=lambda skip: skip.reason)
def test_there_are_such_tests_and_classes(skip: Skip) -> None:
    assert any(skip.fits(name.removeprefix("Test"), test) for name, suite in SUITES.items() for test in dir(suite)), (
        skip
    )


@pytest.mark.parametrize("wording", THEIRS)
def test_transformers_words_it_so(wording: str) -> None:
    assert any(wording in source.read_text(encoding="utf-8") for source in SOURCES)
