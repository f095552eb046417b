"""What a layer tells `partition` and the report about itself."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from padnet_hf.method.layout import Granularity
from padnet_hf.method.packing import pack_mask
from padnet_hf.method.weight import PADWeight


class MaskGroup(NamedTuple):
    """Weights that share one mask.

    weights: candidate i of each is the same thing: the same element, hidden neuron or output channel.
    followers: have no candidates of their own; they stay dynamic as long as any candidate of the group is.
    """

    weights: tuple[PADWeight, ...]
    followers: tuple[PADWeight, ...] = ()


class MultiplyAdds(NamedTuple):
    """Multiply-adds of a layer as a dense, a fully dynamic and the present one, per what its `work_per` says."""

    dense: int
    fully_dynamic: int
    current: int


class PADLayer(nn.Module, ABC):
    """Base class of every layer whose weights are PADWeights; its other parameters exist only to route or to mix.

    Attributes:
        work_per: what multiply-adds are counted for, "token" or "image".
        routing_is_idle: whether nothing is dynamic, so that what routes is not trained.
        usage: (E,) float32 while it is counted: the sum over inputs of what each copy was mixed with.
    """

    work_per: ClassVar[str] = "token"
    usage: Tensor | None = None

    def __init__(self) -> None:
        super().__init__()
        self.routing_is_idle = False
        self.register_load_state_dict_post_hook(_freeze_if_idle)

    @abstractmethod
    def unit_group(self) -> MaskGroup:
        """Its weights, as they share a mask when the granularity is "unit"."""

    def mixes_to_one(self) -> bool:
        """Whether what mixes its copies sums to one for every input, so that equal copies are one dense weight."""
        return True

    @abstractmethod
    def multiply_adds(self, inputs: Tensor) -> MultiplyAdds:
        """Multiply-adds of one call with inputs of this shape, per token or image, routing not counted."""

    @abstractmethod
    def outline(self, inputs: Tensor) -> Tensor:
        """A tensor of the shape, dtype and device of what a call with these inputs gives, its values not set."""


def pad_layers(model: nn.Module) -> dict[str, PADLayer]:
    """The PAD layers of a model by name, in the order of `named_modules`."""
    return {name: module for name, module in model.named_modules() if isinstance(module, PADLayer)}


def pad_weights(model: nn.Module) -> dict[str, PADWeight]:
    """The PADWeights of a model by name, in the order of `named_modules`."""
    return {name: module for name, module in model.named_modules() if isinstance(module, PADWeight)}


def freeze_idle_routing(model: nn.Module) -> None:
    """Take the parameters that only route out of training in layers without anything dynamic.

    They would never get a gradient, and DDP would wait for it.
    """
    for layer in pad_layers(model).values():
        _freeze_if_idle(layer)


def _freeze_if_idle(layer: PADLayer, _: object = None) -> None:
    """Freeze what only routes if nothing is dynamic, and give it back to training if something is again."""
    weights = pad_weights(layer).values()
    is_idle = all(weight.is_static for weight in weights)
    if is_idle != layer.routing_is_idle:
        of_weights = {id(parameter) for weight in weights for parameter in weight.parameters()}
        for parameter in layer.parameters():
            if id(parameter) not in of_weights:
                parameter.requires_grad_(not is_idle)
        layer.routing_is_idle = is_idle


def mask_groups(model: nn.Module, granularity: Granularity) -> list[MaskGroup]:
    """Which weights share a mask, in the order of the layers: none ("element"), or those of a layer ("unit")."""
    groups = [layer.unit_group() for layer in pad_layers(model).values()]
    if granularity == "unit":
        return groups
    return [MaskGroup((weight,)) for group in groups for weight in (*group.weights, *group.followers)]


def hash_masks(masks: Iterable[Tensor]) -> str:
    """SHA-256, in hexadecimal, over the bits of masks (bool, or packed already) in the order of `mask_groups`."""
    digest = hashlib.sha256()
    for mask in masks:
        bits = pack_mask(mask) if mask.dtype == torch.bool else mask
        digest.update(bits.contiguous().cpu().numpy())
    return digest.hexdigest()
