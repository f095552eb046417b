"""What routers decided during one forward pass of a model, for a loss or an output that is made at the model's end.

A router tells the log, if one is open. No layer on the way has to hand anything on, so they can stay transformers' own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from transformers.utils.output_capturing import CompileableContextVar

if TYPE_CHECKING:
    from padnet_hf.layers.router import Routing

Result = TypeVar("Result")

# Each thread has its own, and so has torch.compile, which cannot trace a ContextVar.
_LOG = CompileableContextVar("padnet_hf_routing_log")


def record(routing: Routing) -> None:
    """Add to the log that is open, if any."""
    log = _LOG.get()
    if log is not None:
        log.append(routing)


def is_logging() -> bool:
    """Whether a log is open."""
    return _LOG.get() is not None


def logged(compute: Callable[[], Result]) -> tuple[Result, list[Routing]]:
    """`compute()`, and what routers decided meanwhile, in the order of their calls."""
    log: list[Routing] = []
    token = _LOG.set(log)
    try:
        result = compute()
    finally:
        _LOG.reset(token)
    return result, log
