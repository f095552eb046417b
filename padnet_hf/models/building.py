"""Models whose values come from elsewhere, built without drawing any."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from transformers.initialization import no_init_weights


@contextmanager
def without_values(dtype: torch.dtype) -> Iterator[None]:
    """Models built in the block have parameters of this dtype, not initialised: memory is taken when it is filled.

    Unlike a cast afterwards this leaves what stock models keep in float32, the frequencies of rotary positions, alone.
    """
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with no_init_weights():
            yield
    finally:
        torch.set_default_dtype(before)
