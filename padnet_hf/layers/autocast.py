"""Autocast for layers that choose the precision of their parts themselves."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor


def in_autocast_dtype(inputs: Tensor) -> Tensor:
    """The inputs in the dtype that autocast asks for on their device, as they are where it is off or unknown (meta)."""
    device = inputs.device.type
    if torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device):
        return inputs.to(torch.get_autocast_dtype(device))
    return inputs


def no_autocast(device: torch.device) -> AbstractContextManager:
    """A context in which autocast changes nothing."""
    is_on = torch.amp.is_autocast_available(device.type) and torch.is_autocast_enabled(device.type)
    return torch.autocast(device.type, enabled=False) if is_on else nullcontext()
