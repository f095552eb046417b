"""Scores of all candidates from a few batches, leaving no trace on the model.

Only ordinary backward passes are needed: each weight's gradient is reduced over its copies as soon as it is complete,
and dropped. Extra memory is one float32 score per candidate, and one weight's gradient at a time.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from padnet_hf.errors import PADNetError
from padnet_hf.partition.criteria import Criterion
from padnet_hf.partition.processes import failing_together, sum_in_place
from padnet_hf.partition.trial import MaskTrial
from padnet_hf.partition.weight import PADWeight

Batch = Mapping[str, Any]


@contextmanager
def no_trace(model: nn.Module, weights: Sequence[PADWeight]) -> Iterator[dict[PADWeight, MaskTrial]]:
    """Evaluation mode with gradients for `weights` alone; everything comes back as it was, on errors too.

    Gives what masks can be tried with, by weight. Restored: training mode of every module, gradients, requires_grad,
    random generators, and the weights' values.
    """
    modes = {module: module.training for module in model.modules()}
    parameters = {p: (p.requires_grad, p.grad) for p in model.parameters()}
    trained = {weight.dynamic for weight in weights}
    trials = {weight: MaskTrial(weight) for weight in weights}
    devices = sorted({p.device.index or 0 for p in parameters if p.device.type == "cuda"})
    try:
        with torch.random.fork_rng(devices):
            model.eval()
            for parameter in parameters:
                parameter.requires_grad_(parameter in trained).grad = None
            yield trials
    finally:
        for module, mode in modes.items():
            module.training = mode
        for parameter, (requires_grad, gradient) in parameters.items():
            parameter.requires_grad_(requires_grad).grad = gradient
        for trial in trials.values():
            trial.undo()


def score_weights(
    model: nn.Module,
    weights: Sequence[PADWeight],
    batches: Sequence[Batch],
    criterion: Criterion,
    generator: torch.Generator,
    reduce: Callable[[PADWeight, Tensor], Tensor] = lambda weight, contribution: contribution,
    on_batch: Callable[[], object] = lambda: None,
) -> list[Tensor]:
    """Signed contributions per weight, float32, summed over batches and over all processes.

    `reduce` makes of a weight's contributions (*shape) of one batch those of its candidates, of any shape. Call inside
    `no_trace`. Raises PADNetError if a batch gives no loss, or one that is not finite.
    """
    if not criterion.needs_gradients:
        return [reduce(weight, criterion.score(weight.dynamic.detach(), None, generator)) for weight in weights]
    by_parameter = {weight.dynamic: weight for weight in weights}
    # One weight after the other: a process without batches needs its zeros in the candidates' shape too.
    totals = {p: reduce(weight, torch.zeros(weight.shape, device=p.device)) for p, weight in by_parameter.items()}

    def reduce_over_copies(parameter: Tensor) -> None:
        contribution = criterion.score(parameter.detach(), parameter.grad, generator)
        parameter.grad = None
        totals[parameter] += reduce(by_parameter[parameter], contribution)

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
