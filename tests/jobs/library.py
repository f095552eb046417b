"""Code that stands for a library's: in a file of an installed package."""

from collections.abc import Callable
from typing import Any


def in_a_library(code: str) -> Callable[..., Any]:
    """The function `run` that the code defines."""
    names: dict[str, Any] = {}
    exec(compile(code, "/somewhere/site-packages/library.py", "exec"), names)
    return names["run"]
