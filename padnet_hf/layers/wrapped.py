"""PADWeights that something else acts on while they are called.

PEFT's LoRA on parameters takes the place of the module it adapts, its `base_layer` from then on; accelerate's hooks
bring what is offloaded to the device.
"""

from collections.abc import Callable, Iterable
from functools import partial
from typing import TypeVar

from torch import nn

from padnet_hf.method.weight import PADWeight

Result = TypeVar("Result")


def unwrapped(module: nn.Module) -> PADWeight:
    """The weight itself."""
    while not isinstance(module, PADWeight):
        module = module.base_layer
    return module


def call_inside(modules: Iterable[nn.Module], compute: Callable[[], Result]) -> Result:
    """`compute()` inside a call of every module: a weight, or what is wrapped around one and calls on it."""
    for module in modules:
        compute = partial(module, compute)
    return compute()
