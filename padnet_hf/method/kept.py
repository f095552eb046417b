"""What is worked out from tensors and kept for the next time, beside modules and not in them.

A module that held it would copy, pickle, average and offload it together with its state. Here it lives as long as the
tensor it was made from, and is made again as soon as that one has changed.
"""

from collections.abc import Callable
from typing import Generic, TypeVar

import torch
from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary

Value = TypeVar("Value")


class Kept(Generic[Value]):
    """Values by the tensor that each was made from first."""

    def __init__(self) -> None:
        self._values: WeakIdKeyDictionary = WeakIdKeyDictionary()

    def get(self, tensors: tuple[Tensor, ...], make: Callable[[], Value]) -> Value:
        """What `make()` gave, as long as none of these tensors has changed since.

        torch counts changes in place, but not those through `.data`, nor those that fused optimizers make; whoever
        makes such a change has to `forget`. `make` runs without gradients, and outside of inference mode: what is made
        inside could not be used for training.
        """
        states = tuple(map(state_of, tensors))
        found = self._values.get(tensors[0])
        if found is None or found[0] != states:
            with torch.inference_mode(False), torch.no_grad():
                found = self._values[tensors[0]] = (states, make())
        return found[1]

    def forget(self, tensor: Tensor) -> None:
        """Let go of what was made from this tensor first, if anything was."""
        self._values.pop(tensor, None)

    def clear(self) -> None:
        """Let go of everything."""
        self._values.clear()

    def __len__(self) -> int:
        return len(self._values)


def state_of(tensor: Tensor) -> tuple[int, int, int | None]:
    """Another one after every change that torch counts."""
    return id(tensor), tensor.data_ptr(), None if tensor.is_inference() else tensor._version
