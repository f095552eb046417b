"""Scores of all candidates from a few batches, leaving no trace on the model.

Only ordinary backward passes are needed: each weight's gradient is reduced over its copies as soon as it is complete,
and dropped. Extra memory is one float32 score per candidate, and one weight's gradient at a time.
"""

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from padnet_hf.errors import PADNetError
from padnet_hf.method.criteria import Criterion
from padnet_hf.method.processes import failing_together, sum_in_place

Batch = Mapping[str, Any]


def take(batches: Iterable[Batch] | None, count: int) -> list[Batch]:
    """The first `count` batches. Raises PADNetError for one that is not a dictionary."""
    with torch.random.fork_rng(devices=[]):  # a DataLoader draws from the global generator
        taken = list(itertools.islice(() if batches is None else batches, count))
    for batch in taken:
        if not isinstance(batch, Mapping):
            raise PADNetError(
                f"a calibration batch is of type {type(batch).__name__}, but must be a dictionary of the model's "
                "keyword arguments; pass a list of such dictionaries, or a DataLoader that gives them."
            )
    return taken


@contextmanager
def no_trace(model: nn.Module, scored: Iterable[nn.Parameter]) -> Iterator[None]:
    """Evaluation mode with gradients for `scored` alone; everything comes back as it was, on errors too.

    Restored: training mode of every module, gradients, requires_grad and random generators.
    """
    modes = {module: module.training for module in model.modules()}
    parameters = {p: (p.requires_grad, p.grad) for p in model.parameters()}
    trained = set(scored)
    devices = sorted({p.device.index or 0 for p in parameters if p.device.type == "cuda"})
    try:
        with torch.random.fork_rng(devices):
            model.eval()
            for parameter in parameters:
                parameter.requires_grad_(parameter in trained).grad = None
            yield
    finally:
        for module, mode in modes.items():
            module.training = mode
        for parameter, (requires_grad, gradient) in parameters.items():
            parameter.requires_grad_(requires_grad).grad = gradient


def score_parameters(
    model: nn.Module,
    parameters: Sequence[nn.Parameter],
    batches: Sequence[Batch],
    criterion: Criterion,
    generator: torch.Generator,
    *,
    as_copies: Callable[[Tensor], Tensor] = lambda tensor: tensor,
    reduce: Callable[[int, Tensor], Tensor] = lambda number, contribution: contribution,
    on_batch: Callable[[], object] = lambda: None,
) -> list[Tensor]:
    """Signed contributions per parameter, float32, summed over batches and over all processes.

    `as_copies` makes (E, *shape) of a parameter and of its gradient, if they are not that already. `reduce` makes of
    the contributions (*shape) of one batch to the parameter of this number those of its candidates, of any shape. Call
    inside `no_trace`. Raises PADNetError if a batch gives no loss, or one that is not finite.
    """
    if not criterion.needs_gradients:
        copies = [as_copies(parameter.detach()) for parameter in parameters]
        return [reduce(number, criterion.score(values, None, generator)) for number, values in enumerate(copies)]
    numbers = {parameter: number for number, parameter in enumerate(parameters)}
    # One parameter after the other: a process without batches needs its zeros in the candidates' shape too.
    totals = {p: reduce(n, torch.zeros(as_copies(p).shape[1:], device=p.device)) for p, n in numbers.items()}

    def reduce_over_copies(parameter: Tensor) -> None:
        contribution = criterion.score(as_copies(parameter.detach()), as_copies(parameter.grad), generator)
        parameter.grad = None
        totals[parameter] += reduce(numbers[parameter], contribution)

    hooks = [parameter.register_post_accumulate_grad_hook(reduce_over_copies) for parameter in totals]
    try:
        with failing_together(), torch.enable_grad():
            for index, batch in enumerate(batches):
                _loss(model, batch, index).backward()
                on_batch()
    finally:
        for hook in hooks:
            hook.remove()
    scores = list(totals.values())
    sum_in_place(scores)
    if not all(bool(score.isfinite().all()) for score in scores):
        raise PADNetError(
            "the gradients of the calibration batches are not finite; lower the loss scale, or use float32."
        )
    return scores


def _loss(model: nn.Module, batch: Batch, index: int) -> Tensor:
    device = next(model.parameters()).device
    output = model(**{key: value.to(device) if isinstance(value, Tensor) else value for key, value in batch.items()})
    loss = output.get("loss") if isinstance(output, Mapping) else getattr(output, "loss", None)
    if loss is None:
        raise PADNetError(
            f"calibration batch {index} gives no loss, and scores are made from the loss's gradient: it has the keys "
            f"{sorted(batch)}; add the labels under the name that {type(model).__name__}.forward takes ('labels')."
        )
    if not math.isfinite(loss.item()):
        raise PADNetError(
            f"the loss of calibration batch {index} is {loss.item()}, but must be finite; look at its inputs "
            "and labels."
        )
    return loss
