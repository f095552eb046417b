"""Scores of all candidates from a few batches, leaving no trace on the model.

Only ordinary backward passes are needed: each weight's gradient is reduced over its copies as soon as it is complete,
and dropped. Extra memory is one float32 score per candidate, and one weight's gradient at a time.
"""

import itertools
import math
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache, partial
from itertools import repeat
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from padnet_hf.errors import PADNetError
from padnet_hf.method.criteria import Criterion, Scored
from padnet_hf.method.packing import mean_over_copies
from padnet_hf.method.processes import failing_together, sum_in_place

Batch = Mapping[str, Any]


def take(batches: Iterable[Batch] | None, count: int) -> list[Batch]:
    """The first `count` batches. Raises PADNetError for one that is not a dictionary."""
    if isinstance(batches, Mapping):
        raise PADNetError(
            f"batches is one dictionary, with the keys {sorted(map(str, batches))}, but must be several of them: pass "
            "a list, [batch], or a DataLoader that gives such dictionaries."
        )
    with unchanged_generators():  # a DataLoader draws from them, and a collator may
        taken = list(itertools.islice(() if batches is None else batches, count))
    for batch in taken:
        if not isinstance(batch, Mapping):
            raise PADNetError(
                f"a calibration batch is of type {type(batch).__name__}, but must be a dictionary of the model's "
                "keyword arguments; pass a list of such dictionaries, or a DataLoader that gives them."
            )
    return taken


@contextmanager
def unchanged_generators(devices: Iterable[int] = ()) -> Iterator[None]:
    """What is drawn inside from the global random generators, of Python, numpy and torch, is not drawn outside.

    devices: numbers of the GPUs whose generators count.
    """
    drawn_by_python, drawn_by_numpy = random.getstate(), np.random.get_state()  # noqa: NPY002 - other code's generator
    try:
        with torch.random.fork_rng(list(devices)):
            yield
    finally:
        random.setstate(drawn_by_python)
        np.random.set_state(drawn_by_numpy)  # noqa: NPY002


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
        with unchanged_generators(devices):
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
    static: Callable[[int, Tensor], Tensor] = lambda number, copies: mean_over_copies(copies),
    reduce: Callable[[int, Tensor], Tensor] = lambda number, contribution: contribution,
    on_batch: Callable[[], object] = lambda: None,
    per_copy: bool = False,
) -> list[Tensor]:
    """Signed contributions per parameter, float32, summed over batches and over all processes.

    `as_copies` makes (E, *shape) of a parameter and of its gradient, if they are not that already. `static` gives the
    static values (*shape) of the parameter of this number, which has these copies. `reduce` makes of the contributions
    (*shape) of one batch to the parameter of this number those of its candidates, of any shape. With `per_copy` every
    copy is scored by itself, and contributions are (E, *shape). Call inside `no_trace`.
    Raises PADNetError if a batch gives no loss, or one that is not finite, and if the criterion's scores are of another
    shape, or not finite.
    """

    def score_of(number: int, gradients: Tensor | None) -> Tensor:
        copies = as_copies(parameters[number].detach())
        make_static = cache(partial(static, number, copies))
        if not per_copy:
            return _score(criterion, Scored(copies, gradients, generator, make_static))
        of_copies = repeat(None) if gradients is None else gradients.split(1)
        pairs = zip(copies.split(1), of_copies, strict=False)
        return torch.stack([_score(criterion, Scored(*pair, generator, make_static)) for pair in pairs])

    if not criterion.needs_gradients:
        totals = []
        for number in range(len(parameters)):  # each reduced before the next one takes memory
            score = score_of(number, None)
            if not _are_finite([score]):
                raise PADNetError(
                    f"scores of the criterion {criterion.name!r} are not finite: are all weights? Load the model "
                    "again, or correct the criterion."
                )
            totals.append(reduce(number, score))
        return totals
    numbers = {parameter: number for number, parameter in enumerate(parameters)}
    # One parameter after the other: a process without batches needs its zeros in the candidates' shape too.
    first = 0 if per_copy else 1
    totals = {p: reduce(n, torch.zeros(as_copies(p).shape[first:], device=p.device)) for p, n in numbers.items()}

    def add(parameter: Tensor) -> None:
        number = numbers[parameter]
        totals[parameter] += reduce(number, score_of(number, as_copies(parameter.grad)))

    each_gradient(model, parameters, batches, add, on_batch)
    scores = list(totals.values())
    sum_in_place(scores)
    if not _are_finite(scores):
        raise PADNetError(
            f"scores of the criterion {criterion.name!r} are not finite, though the losses are: gradients of the "
            "calibration batches overflow (lower the loss scale, or use float32), or the criterion does."
        )
    return scores


def each_gradient(
    model: nn.Module,
    parameters: Iterable[nn.Parameter],
    batches: Iterable[Batch],
    take: Callable[[nn.Parameter], None],
    on_batch: Callable[[], object] = lambda: None,
) -> None:
    """Run the batches, and call `take` with each parameter as soon as its gradient is complete; it is dropped then.

    Call inside `no_trace`. Raises PADNetError if a batch gives no loss, or one that is not finite.
    """

    def take_and_drop(parameter: nn.Parameter) -> None:
        take(parameter)
        parameter.grad = None

    hooks = [parameter.register_post_accumulate_grad_hook(take_and_drop) for parameter in parameters]
    try:
        with failing_together(), torch.enable_grad():
            run_batches(model, batches, on_batch, Tensor.backward)
    finally:
        for hook in hooks:
            hook.remove()


def run_batches(
    model: nn.Module,
    batches: Iterable[Batch],
    on_batch: Callable[[], object] = lambda: None,
    use: Callable[[Tensor], object] = lambda loss: None,
) -> None:
    """Run the batches, and call `use` with each loss. Raises PADNetError as `each_gradient` does."""
    for index, batch in enumerate(batches):
        use(_loss(model, batch, index))
        on_batch()


def _score(criterion: Criterion, weight: Scored) -> Tensor:
    """What the criterion says of a weight, (*shape) float32."""
    score, copies = criterion.score(weight), weight.copies
    if not isinstance(score, Tensor) or score.shape != copies.shape[1:] or score.is_complex():
        what = f"{score.dtype} of shape {tuple(score.shape)}" if isinstance(score, Tensor) else type(score).__name__
        raise PADNetError(
            f"the criterion {criterion.name!r} gave {what} for copies of shape {tuple(copies.shape)}, but must give "
            f"one real number for each element of a copy, {tuple(copies.shape[1:])}: correct its function."
        )
    return score.detach().to(copies.device, torch.float32)


def _are_finite(scores: Iterable[Tensor]) -> bool:
    ends = (end for score in scores if score.numel() for end in score.aminmax())  # unlike isfinite without a copy
    return all(bool(end.isfinite()) for end in ends)


def _loss(model: nn.Module, batch: Batch, index: int) -> Tensor:
    device = next(model.parameters()).device
    output = model(**{key: _usable(value, device) for key, value in batch.items()})
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


def _usable(value: Any, device: torch.device) -> Any:
    """On this device; a tensor made in inference mode, which autograd refuses, as an ordinary one."""
    if not isinstance(value, Tensor):
        return value
    return value.to(device).clone() if value.is_inference() else value.to(device)
