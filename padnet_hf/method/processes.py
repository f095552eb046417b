"""What several processes (torch.distributed) do together while they choose one partition; nothing in a single one."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from padnet_hf.errors import PADNetError


def num_processes() -> int:
    """How many processes partition together."""
    together = torch.distributed.is_available() and torch.distributed.is_initialized()
    return torch.distributed.get_world_size() if together else 1


def from_all(value: Any) -> list[Any]:
    """This value of every process, in the order of their ranks."""
    if num_processes() == 1:
        return [value]
    values: list[Any] = [None] * num_processes()
    torch.distributed.all_gather_object(values, value)
    return values


def sum_in_place(tensors: Sequence[Tensor]) -> None:
    """Make each tensor the sum over processes."""
    if num_processes() > 1:
        for tensor in tensors:
            torch.distributed.all_reduce(tensor)


@contextmanager
def failing_together() -> Iterator[None]:
    """What one process raises inside, all raise; otherwise the others would wait for it until their time-out."""
    error = None
    try:
        yield
    except Exception as caught:
        error = caught
    messages = from_all(None if error is None else f"{type(error).__name__}: {error}")
    if error is not None:
        raise error
    for rank, message in enumerate(messages):
        if message is not None:
            raise PADNetError(f"process {rank} of {len(messages)} failed, so all stop: {message}")
