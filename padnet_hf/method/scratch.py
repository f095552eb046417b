"""Memory for what is used up at once, kept for the next time: on a CPU, fresh pages cost more than filling them.

Ours; measured with benchmarks/dynamic_conv.py and benchmarks/experts.py.
"""

import threading

import torch
from torch import Tensor


class _Memory(threading.local):
    def __init__(self) -> None:
        self.blocks: dict[tuple[str, torch.dtype], Tensor] = {}


_memory = _Memory()


def scratch(purpose: str, numel: int, dtype: torch.dtype) -> Tensor:
    """CPU memory (numel,), not initialised, that this thread's next call for the same purpose gives out again."""
    block = _memory.blocks.get((purpose, dtype))
    if block is None or block.numel() < numel:
        with torch.inference_mode(False):  # what is made in inference mode could not be written to outside of it
            block = _memory.blocks[purpose, dtype] = torch.empty(numel, dtype=dtype, device="cpu")
    return block[:numel]
