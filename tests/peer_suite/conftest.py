"""Fetches transformers' own tests before a test module imports them, and counts what becomes of them."""

import sys

import pytest

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


def pytest_configure(config: pytest.Config) -> None:
    try:
        sys.path.insert(0, str(provide_tests()))
    except SdistError as error:
        raise pytest.UsageError(str(error)) from error
    for marker in MARKERS:
        config.addinivalue_line("markers", f"{marker}: of transformers' own tests")
    config.pluginmanager.register(Tally())
