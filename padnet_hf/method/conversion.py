"""Fully dynamic weights made compact, one after the other, or none of them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from padnet_hf.method.trial import copies_are_equal
from padnet_hf.method.weight import Granularity, PADWeight

Convert = Callable[[PADWeight, Tensor, Granularity], None]
"""Makes candidates of a weight outside a mask, (N,) or (U,) bool, static."""


@contextmanager
def undone_on_error() -> Iterator[Convert]:
    """Gives what makes a weight compact; after an error or an interrupt all weights hold the parameters they had.

    The memory of a weight is let go before the next one is converted, so the old and the new model never exist together
    (ours): copies that are all equal, as after upcycling, can be put together again from what is compact. Others are
    kept until the end.
    """
    converted: list[tuple[PADWeight, torch.nn.Parameter, Granularity, Tensor]] = []

    def convert(weight: PADWeight, mask: Tensor, granularity: Granularity) -> None:
        original = weight.dynamic
        state = weight.partitioned_state(mask, granularity)
        converted.append((weight, original, weight.granularity, mask))
        weight.become(state, granularity)
        if copies_are_equal(original.detach()):
            original.data = original.new_empty(0)

    try:
        yield convert
    except BaseException:
        for weight, original, granularity, mask in converted:
            if original.numel() == 0:
                original.data = weight.unpartitioned(mask)
            weight.become({"dynamic": original}, granularity)
        raise
