"""Fully dynamic weights made compact, one after the other, or none of them.

Axis letters: E copies, N elements of one copy, U units of one copy.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from padnet_hf.method.layout import Granularity
from padnet_hf.method.packing import pack_mask, positions_of
from padnet_hf.method.static_values import StaticValue, mean_of
from padnet_hf.method.trial import copies_are_equal
from padnet_hf.method.weight import PADWeight, WeightState

Undo = Literal["memory", "file", "none"]
"""Where copies that differ are kept until all weights are converted."""

Convert = Callable[[PADWeight, Tensor, Granularity], None]
"""Makes candidates of a weight outside a mask, (N,) or (U,) bool, static; with a mask for each copy, (E, N), for that
copy, and with one over units, (E, U), leaves them out of it."""


def partitioned_state(
    weight: PADWeight, mask: Tensor, granularity: Granularity, static_value: StaticValue = mean_of
) -> WeightState:
    """The tensors of a fully dynamic weight when only candidates under `mask`, (N,) or (U,) bool, are dynamic.

    With a mask for each copy, (E, N) or (E, U), these must have as many ones each.
    """
    total, layout = mask.shape[-1], weight.layout
    count = int(mask.sum()) // (mask.numel() // total)
    copies = weight.dynamic.detach()
    if count == total:
        return {"dynamic": copies}
    if mask.dim() == 2 and granularity == "unit":
        return {"dynamic": _own_values(weight, mask, granularity)}
    static = copies[0] if copies_are_equal(copies) else static_value(weight)
    if count == 0:
        return {"static": static.clone()}
    if mask.dim() == 2:
        values = {"dynamic": _own_values(weight, mask, granularity), "static": static.flatten().clone()}
        return values | {"phi": copies.new_zeros(1), "mask_bits": pack_mask(mask)}
    copies, dim, along = layout.places(copies, mask, granularity)
    static, _, _ = layout.places(static.unsqueeze(0), mask, granularity)
    state = {
        "dynamic": copies.index_select(dim, positions_of(along)),
        "static": static.index_select(dim, positions_of(~along))[0],
        "phi": copies.new_zeros(1),
    }
    if granularity == "element" or layout.ordered:
        state["mask_bits"] = pack_mask(mask)
    return state


def _own_values(weight: PADWeight, masks: Tensor, granularity: Granularity) -> Tensor:
    """What each copy of a fully dynamic weight holds under its own mask, (E, n) or (E, ..d..)."""
    values = []
    for copy, mask in zip(weight.dynamic.detach().split(1), masks, strict=True):
        places, dim, along = weight.layout.places(copy, mask, granularity)
        values.append(places.index_select(dim, positions_of(along)))
    return torch.cat(values)


def _unpartitioned(weight: PADWeight, mask: Tensor) -> Tensor:
    """All copies (E, *shape) as before `partitioned_state` with this mask, if their static values were equal."""
    if weight.is_fully_dynamic:
        return weight.dynamic.detach()
    layout = weight.layout
    copies = weight.values.new_empty(layout.num_copies, *layout.shape)
    if weight.is_static or weight.has_own_masks:
        return copies.copy_(weight.static.detach().view(layout.shape))
    places, dim, along = layout.places(copies, mask, weight.granularity)
    places.index_copy_(dim, positions_of(along), weight.dynamic.detach())
    static = weight.static.detach().expand(layout.num_copies, *weight.static.shape)
    places.index_copy_(dim, positions_of(~along), static)
    return copies


@contextmanager
def undone_on_error(static_value: StaticValue = mean_of, undo: Undo = "memory") -> Iterator[Convert]:
    """Gives what makes a weight compact; after an error or an interrupt all weights hold the parameters they had.

    The memory of a weight is let go before the next one is converted, so the old and the new model never exist together
    (ours): copies that are all equal, as after upcycling, can be put together again from what is compact. Others are
    kept until the end, and so are those of which something is left out: in memory or in a file, or not at all, and then
    an error says so.
    """
    converted: list[tuple[PADWeight, torch.nn.Parameter, Granularity, Tensor]] = []
    lost = False
    files: dict[int, Path] = {}
    with TemporaryDirectory(prefix="padnet-") if undo == "file" else nullcontext("") as folder:

        def convert(weight: PADWeight, mask: Tensor, granularity: Granularity) -> None:
            nonlocal lost
            original = weight.dynamic
            state = partitioned_state(weight, mask, granularity, static_value)
            again = copies_are_equal(original.detach()) and not (mask.dim() == 2 and granularity == "unit")
            if not again and undo == "file":
                files[len(converted)] = Path(folder, f"{len(converted)}.safetensors")
                save_file({"dynamic": original.detach()}, files[len(converted)])
            lost |= not again and undo == "none"
            converted.append((weight, original, weight.granularity, mask))
            weight.become(state, granularity)
            if again or undo != "memory":
                original.data = original.new_empty(0)

        try:
            yield convert
        except BaseException as error:
            if lost:
                error.add_note("The model is half partitioned now, as undo is 'none': load it again.")
                raise
            for number, (weight, original, granularity, mask) in enumerate(converted):
                if number in files:
                    original.data = load_file(files[number], device=str(weight.values.device))["dynamic"]
                elif original.numel() == 0:
                    original.data = _unpartitioned(weight, mask)
                weight.become({"dynamic": original}, granularity)
            raise
