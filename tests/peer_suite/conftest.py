"""Fetches transformers' own tests before a test module imports them, and counts what becomes of them."""

import sys
from pathlib import Path

import pytest
from transformers import set_seed

from tests.peer_suite.sdist import SdistError, provide_tests
from tests.peer_suite.tally import Tally

MARKERS = (
    "accelerate_tests",
    "flash_attn_test",
    "flash_attn_3_test",
    "flash_attn_4_test",
    "is_training_test",
    "torch_compile_test",
)


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("transformers' own tests")
    group.addoption("--all-forms", action="store_true", help="every family in every form, not only some of them in all")
    group.addoption("--tally-json", metavar="FILE", type=Path, help="write what became of the tests, by class and form")


def pytest_configure(config: pytest.Config) -> None:
    try:
        sys.path.insert(0, str(provide_tests()))
    except SdistError as error:
        raise pytest.UsageError(str(error)) from error
    for marker in MARKERS:
        config.addinivalue_line("markers", f"{marker}: of transformers' own tests")
    config.pluginmanager.register(Tally(config.getoption("--tally-json")))


def pytest_pycollect_makeitem(collector: pytest.Collector, name: str, obj: object) -> list[pytest.Item] | None:
    """Leave out suites in forms that nobody asked for."""
    is_left_out = not getattr(obj, "by_default", True) and not collector.config.getoption("--all-forms")
    return [] if is_left_out else None


@pytest.fixture(autouse=True)
def _same_inputs_every_time() -> None:
    """transformers' tests draw inputs from a generator that starts anywhere, and a few fail with one in thousands."""
    from transformers_own_tests.test_modeling_common import global_rng

    global_rng.seed(0)
    set_seed(0)
