"""Whether a run still makes sense: parameters, losses and outputs that are numbers, and weights of the trained kind."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from padnet_hf.errors import PADNetError


class Losses:
    """Counts losses on their device, so that counting does not wait for it."""

    def __init__(self) -> None:
        self._steps = 0
        self._finite: Tensor | int = 0

    def add(self, loss: Tensor) -> None:
        """Count one loss, shape ()."""
        self._steps += 1
        self._finite = self._finite + torch.isfinite(loss)

    def none_was_finite(self) -> bool:
        """Whether of several losses since the last call none was finite: one alone can be a batch without labels."""
        several_and_none = self._steps > 1 and int(self._finite) == 0
        self._steps, self._finite = 0, 0
        return several_and_none


def not_finite(parameters: Iterable[nn.Parameter]) -> Tensor:
    """How many of the parameters hold a NaN or an infinity, as far as this process has them, shape ()."""
    own = [getattr(p, "to_local", lambda p=p: p)().detach() for p in parameters]
    found = [~torch.isfinite(p).all() for p in own if p.is_floating_point() and p.element_size() > 1 and p.numel()]
    return torch.stack([flag.to(found[0].device) for flag in found]).sum() if found else torch.zeros(())


def check_outputs(outputs: Any, options: str = "") -> None:
    """Raise PADNetError if there is a NaN in a model's outputs, tensors nested in any way.

    Args:
        options: that can be the reason, if the weights are sound.
    """
    for tensor in tree_leaves(outputs):
        if isinstance(tensor, Tensor) and tensor.is_floating_point() and tensor.isnan().any():
            raise PADNetError(
                "the model gives NaN, so nothing can be measured or predicted with it: its weights come from a training"
                f" that diverged, or are damaged (padnet inspect --values); take an earlier checkpoint{options}."
            )


@contextmanager
def restored(model: nn.Module) -> Iterator[None]:
    """Whatever dtype or device the model is cast to in the block, its tensors are then those that they were."""
    modules = [(module, dict(module._parameters), dict(module._buffers)) for module in model.modules()]
    values = [(parameter, parameter.data) for parameter in model.parameters()]
    try:
        yield
    finally:
        for parameter, data in values:
            parameter.data = data
        for module, parameters, buffers in modules:
            module._parameters.update(parameters)
            module._buffers.update(buffers)
