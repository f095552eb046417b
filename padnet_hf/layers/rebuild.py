"""Built weights that are not kept for the backward pass, but built again there."""

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from padnet_hf.method.weight import PADWeight


class _Source:
    """Builds a weight again when the first of its saved views is asked for, and lets go of it after the last."""

    def __init__(self, weight: PADWeight, dtype: torch.dtype, number: int) -> None:
        self.weight = weight
        self.number = number
        self.dtype = dtype
        self.num_saved = 0
        self.num_pending = 0
        self.built: Tensor | None = None
        self.version = 0

    def view(self, size: torch.Size, stride: tuple[int, ...], offset: int) -> Tensor:
        if self.built is None or self.built._version != self.version:  # or its memory has served another weight since
            with torch.enable_grad():  # so that it neither comes from the weight's cache nor stays there
                self.built = self.weight.build(f"rebuilt {self.number}").detach().to(self.dtype)
            self.version = self.built._version
            self.num_pending = self.num_saved
        view = self.built.as_strided(size, stride, offset)
        self.num_pending -= 1
        if self.num_pending == 0:
            self.built = None
        return view


class _Saved(NamedTuple):
    source: _Source
    size: torch.Size
    stride: tuple[int, ...]
    offset: int


class RebuiltInBackward(saved_tensors_hooks):
    """Inside this context autograd saves, in place of a built weight or a view of it, the recipe to build it again.

    A partitioned model would otherwise hold every layer's full copies from the forward to the backward pass, and take
    as much memory as the fully dynamic one (ours; costs one more build per weight and step).

    Args:
        built: pairs of a built tensor (E, *shape), in any dtype, and the weight it was built from.
    """

    def __init__(self, built: Iterable[tuple[Tensor, PADWeight]]) -> None:
        sources = {
            tensor.untyped_storage().data_ptr(): _Source(weight, tensor.dtype, number)
            for number, (tensor, weight) in enumerate(built)
        }

        def pack(tensor: Tensor) -> Tensor | _Saved:
            source = sources.get(tensor.untyped_storage().data_ptr())
            if source is None:
                return tensor.detach()  # the tensor itself would tie a knot with the graph that it belongs to
            source.num_saved += 1
            return _Saved(source, tensor.size(), tensor.stride(), tensor.storage_offset())

        def unpack(saved: Tensor | _Saved) -> Tensor:
            return saved.source.view(*saved[1:]) if isinstance(saved, _Saved) else saved

        super().__init__(pack, unpack)
