"""Multiply-adds of a whole model, counted by running an outline of it on the meta device, where nothing is computed."""

import copy
import logging
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from padnet_hf.errors import PADNetError
from padnet_hf.method.layer import MultiplyAdds, PADLayer, pad_layers
from padnet_hf.method.scoring import unchanged_generators

logger = logging.getLogger(__name__)


def count_work(model: nn.Module, inputs: Mapping[str, Any]) -> dict[str, MultiplyAdds]:
    """Multiply-adds of every PAD layer by name, per token or image, of one call of the model with such inputs.

    A layer that is called several times counts so often, one that is not called is not in the result. The model is left
    alone: what runs is a copy without memory. Empty where that copy cannot be made or run, since a forward looks at
    values for instance. Raises PADNetError where a layer cannot take what comes in.
    """
    found: dict[str, MultiplyAdds] = {}
    try:
        outline = _without_memory(model).eval()
        for name, layer in pad_layers(outline).items():
            layer.forward = partial(_count, layer, name, found)
        with torch.no_grad(), unchanged_generators():
            outline(**{name: _on_meta(value) for name, value in inputs.items()})
    except PADNetError:
        raise
    except Exception as error:  # whatever a forward of the user's own does, it must not cost them their partition
        logger.info("multiply-adds are not known: %s runs not on the meta device: %r", type(model).__name__, error)
        return {}
    return found


def _without_memory(model: nn.Module) -> nn.Module:
    tensors = [*model.parameters(), *model.buffers()]
    empty = {id(tensor): torch.empty(tensor.shape, dtype=tensor.dtype, device="meta") for tensor in tensors}
    for parameter in model.parameters():
        empty[id(parameter)] = nn.Parameter(empty[id(parameter)], requires_grad=False)
    return copy.deepcopy(model, empty)  # takes these for copies that are made already


def _on_meta(value: Any) -> Any:
    return torch.empty_like(value, device="meta") if isinstance(value, Tensor) else value


def _count(layer: PADLayer, name: str, found: dict[str, MultiplyAdds], inputs: Tensor, *routing: Tensor) -> Tensor:
    """A call of a layer that takes inputs, and perhaps what a router around it chose for them."""
    work = layer.multiply_adds(inputs)
    earlier = found.get(name, MultiplyAdds(0, 0, 0))
    found[name] = MultiplyAdds(*(one + other for one, other in zip(earlier, work, strict=True)))
    return layer.outline(inputs)
