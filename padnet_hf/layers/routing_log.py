"""What routers decided during one forward pass of a model, for a loss or an output that is made at the model's end.

A router tells the log, if one is open. No layer on the way has to hand anything on, so they can stay transformers' own.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, TypeVar

import torch

if TYPE_CHECKING:
    from padnet_hf.layers.router import Routing

Result = TypeVar("Result")

_LOG: ContextVar[list[Routing] | None] = ContextVar("padnet_hf_routing_log", default=None)
"""The open log: every thread has its own."""


class _WhileCompiling:
    """The open log where torch.compile traces, which cannot look into a ContextVar; it traces one model at a time."""

    log: list[Routing] | None = None


def _open_log() -> list[Routing] | None:
    return _WhileCompiling.log if torch.compiler.is_compiling() else _LOG.get()


def record(routing: Routing) -> None:
    """Add to the log that is open, if any."""
    log = _open_log()
    if log is not None:
        log.append(routing)


def is_logging() -> bool:
    """Whether a log is open."""
    return _open_log() is not None


def logged(compute: Callable[[], Result]) -> tuple[Result, list[Routing]]:
    """`compute()`, and what routers decided meanwhile, in the order of their calls."""
    log: list[Routing] = []
    if torch.compiler.is_compiling():
        _WhileCompiling.log = log
        result = compute()
        _WhileCompiling.log = None
        return result, log
    token = _LOG.set(log)
    try:
        return compute(), log
    finally:
        _LOG.reset(token)
