"""Packed values to dense copies and back, all copies at once: in as many launches whatever their number.

For devices on which a launch takes time of its own. On a CPU one copy after the other is faster, since a copy that fits
its cache is used there; padnet_hf/method/packing.py does that, and chooses.

Axis letters: E copies, N elements of one copy, n dynamic elements.
"""

from functools import partial

import torch
from torch import Tensor

from padnet_hf.method.kept import Kept

_ORDERS: Kept[Tensor] = Kept()
"""Where every element stands among packed values, by the positions of the dynamic ones."""


def is_batched(device: torch.device) -> bool:
    """Whether copies are put together all at once on this device."""
    return device.type != "cpu"


def merge_at_once(
    memory: Tensor | None,
    dynamic: Tensor,
    static: Tensor,
    scale_dynamic: Tensor,
    scale_static: Tensor,
    dynamic_index: Tensor,
    static_index: Tensor | None,
) -> Tensor:
    """The copies (E, N), to be used with gradients off; arguments as for `padnet_hf.method.packing.merge`.

    Packed values are gathered and not scattered: a gather writes whole lines of memory, one after the other. With masks
    of their own they are scattered over the static ones, as a gather would have to look up all E * N places.
    """
    if static_index is None:
        shape = (len(dynamic), len(static))
        dense = dynamic.new_empty(shape) if memory is None else memory.view(shape)
        return dense.copy_(static * scale_static).scatter_(1, dynamic_index.long(), dynamic * scale_dynamic)
    order = _ORDERS.get((dynamic_index, static_index), partial(_order_of, dynamic_index, static_index))
    copies, num_dynamic = dynamic.shape
    packed = dynamic.new_empty(copies, len(order))
    torch.mul(dynamic, scale_dynamic, out=packed[:, :num_dynamic])
    torch.mul(static.expand(copies, -1), scale_static, out=packed[:, num_dynamic:])
    if memory is None:
        return packed.index_select(1, order)
    return torch.index_select(packed, 1, order, out=memory.view(packed.shape))


def _order_of(dynamic_index: Tensor, static_index: Tensor) -> Tensor:
    """`padnet_hf.method.packing.packed_order`, of positions instead of a mask; int32 as they are."""
    positions = torch.cat([dynamic_index, static_index])
    places = torch.arange(len(positions), dtype=positions.dtype, device=positions.device)
    return torch.empty_like(positions).scatter_(0, positions.long(), places)


def packed_gradients_at_once(
    gradient: Tensor,
    dynamic: Tensor,
    static: Tensor,
    scale_dynamic: Tensor,
    scale_static: Tensor,
    dynamic_index: Tensor,
    static_index: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradient in the copies (E, N) -> those in dynamic, static and the two scales; sums are in float32 at least."""
    precision = torch.promote_types(dynamic.dtype, torch.float32)
    if static_index is None:
        own = dynamic_index.long()
        grad_dynamic, shared = gradient.gather(1, own), gradient.scatter(1, own, 0)
        at_static = shared.sum(dim=0, dtype=precision)
    else:
        grad_dynamic = gradient.index_select(1, dynamic_index)
        at_static = gradient.sum(dim=0, dtype=precision).index_select(0, static_index)
    grad_scale_dynamic = (grad_dynamic * dynamic).sum(dtype=precision).to(scale_dynamic.dtype)
    grad_static, grad_scale_static = static_gradients(at_static, static, scale_static)
    return grad_dynamic.mul_(scale_dynamic), grad_static, grad_scale_dynamic, grad_scale_static


def static_gradients(at_static: Tensor, static: Tensor, scale_static: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients in static elements, (N-n,) or (N,), summed over copies -> those in the values and in their scale."""
    grad_static = at_static.to(static.dtype)
    grad_scale_static = torch.dot(grad_static, static)
    return grad_static.mul_(scale_static), grad_scale_static
