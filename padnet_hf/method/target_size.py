"""A size of the file instead of a dynamic ratio (ours): the largest ratio with which the whole model is no larger."""

import math
from dataclasses import replace

from torch import nn

from padnet_hf.errors import PADNetError
from padnet_hf.method.config import PartitionConfig, bytes_of
from padnet_hf.method.layer import MaskGroup, mask_groups, pad_weights
from padnet_hf.method.layout import Form
from padnet_hf.method.selection import UNIT_BLOCK
from padnet_hf.method.weight import PADWeight

_HEADER = 128
"""Bytes that the head of a safetensors file has for a tensor at most, beside its name."""


def with_ratio(config: PartitionConfig, model: nn.Module) -> PartitionConfig:
    """The same with a dynamic ratio, where it has a target size; for a fully dynamic model.

    Units are chosen in blocks, which may end up to half a block above a share: the ratio leaves room for that.

    Raises PADNetError for a size that is smaller than with everything static, or larger than with everything dynamic.
    """
    if config.target_size is None:
        return config
    size, groups = bytes_of(config.target_size), mask_groups(model, config.granularity)
    least, most = _file_bytes(model, 0), _file_bytes(model, 1)
    if not least <= size <= most:
        raise PADNetError(
            f"target_size is {config.target_size!r}, but this {type(model).__name__} takes from {_in_words(least)} "
            f"with everything static to {_in_words(most)} fully dynamic: give a size between them."
        )
    ratio = 1.0 if size == most else _ratio(size - least, groups, config)
    return replace(config, dynamic_ratio=ratio, target_size=None)


def _file_bytes(model: nn.Module, ratio: int) -> int:
    """Bytes of a fully dynamic model's file, or of the same with everything static."""
    tensors = {id(t): (name, t) for name, t in model.state_dict(keep_vars=True).items()}.values()
    total = sum(t.numel() * t.element_size() + len(name) + _HEADER for name, t in tensors)
    if ratio == 0:
        total -= sum((weight.num_copies - 1) * _copy_bytes(weight) for weight in pad_weights(model).values())
    return total


def _copy_bytes(weight: PADWeight) -> int:
    return weight.shape.numel() * weight.values.element_size()


def _ratio(room: int, groups: list[MaskGroup], config: PartitionConfig) -> float:
    """The share that fits into so many bytes beside everything static; 0 where nothing does."""
    room -= sum((weight.num_copies - 1) * _copy_bytes(weight) for group in groups for weight in group.followers)
    whole = blocks = largest = 0
    for group in groups:
        count = group.weights[0].num_candidates(config.granularity)
        of_first, of_all = (
            sum(_bytes(weight, number, config) for weight in group.weights) for number in (1, count - 1)
        )
        of_each = (of_all - of_first) / (count - 2)
        room -= of_first - of_each - sum(map(_copy_bytes, group.weights))
        block = of_each * (UNIT_BLOCK if config.granularity == "unit" else 1)
        whole, blocks, largest = whole + of_each * count, blocks + block, max(largest, block)
    room -= (blocks if config.scope == "layer" else largest) / 2
    if room <= (blocks if config.granularity == "unit" else 0):  # every layer keeps a block
        return 0.0
    return room / whole


def _bytes(weight: PADWeight, count: int, config: PartitionConfig) -> int:
    """Of a weight with so many candidates dynamic, neither none nor all of them, with what the file says of it."""
    shapes = weight.layout.shapes(Form(count, config.granularity, config.masks))
    sizes = {name: 1 if name == "mask_bits" else weight.values.element_size() for name in shapes}
    return sum(math.prod(shape) * sizes[name] + 2 * _HEADER for name, shape in shapes.items())


def _in_words(size: int) -> str:
    return f"{size / 1e6:.1f}MB"
