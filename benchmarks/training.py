"""Whole training steps, each measured in a fresh process: forward, backward and AdamW, in time and memory."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from benchmarks.device import Clock, device, peak, reset_peak, seconds_of


def measure_steps(
    build: Callable[[], nn.Module], loss: Callable[[nn.Module, int], Tensor], warm_up: int, size: int, clock: Clock
) -> dict[str, float]:
    """Seconds, peak bytes and bytes of parameters of one step, in this very process: call it in a fresh one.

    The step is the second one: gradients and both moments of the optimizer exist since one before it. Counted
    is what was held at most during it, less what was held before the model was built: parameters, gradients,
    optimizer state, activations, indices and scratch, not what only building needed.

    Args:
        build: gives the model.
        loss: (model, size) -> its loss on inputs of this size.
        warm_up: size of the first step on a CPU. On a CUDA device it is `size`, since kernels are loaded and chosen
            when they are first needed.
        size: of the step that counts.
    """
    torch.manual_seed(0)
    before = reset_peak()
    with device():
        model = build().train()
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)  # as transformers' Trainer does

    def step(size: int) -> None:
        loss(model, size).backward()
        optimizer.step()
        optimizer.zero_grad()

    step(size if device().type == "cuda" else warm_up)
    reset_peak()
    seconds = seconds_of(partial(step, size), clock)
    return {
        "seconds": seconds,
        "peak bytes": peak() - before,
        "parameter bytes": sum(p.numel() * p.element_size() for p in model.parameters()),
    }
