"""PADWeights that something else is wrapped around: PEFT's LoRA on parameters takes the place of the module it adapts.

Such a wrapper acts on the parameters of what it wraps while it is called, and keeps that as its `base_layer`.
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
    """`compute()` while every wrapper among `modules` acts; each calls on what it wraps, down to a weight."""
    for module in modules:
        if not isinstance(module, PADWeight):
            compute = partial(module, compute)
    return compute()
