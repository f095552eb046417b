"""What copies leave behind where they become static: one value for each element.

Axis letters: E copies, U units of one copy (rows, where it has no units).
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from padnet_hf.method.config import StaticValues
from padnet_hf.method.layer import mask_groups, pad_layers
from padnet_hf.method.packing import first_of_copies, mean_over_copies, weighted_mean
from padnet_hf.method.processes import failing_together, sum_in_place
from padnet_hf.method.scoring import Batch, each_gradient, run_batches
from padnet_hf.method.weight import PADWeight

StaticValue = Callable[[PADWeight], Tensor]
"""A fully dynamic weight -> the static value of every element, (*shape), in memory of its own."""

Shares = Mapping[PADWeight, Tensor]
"""What each copy of a weight counts for in its static values, (E, U) float32, summing to one over the copies."""


def mean_of(weight: PADWeight) -> Tensor:
    """The mean of the copies."""
    return mean_over_copies(weight.dynamic.detach())


def first_of(weight: PADWeight) -> Tensor:
    """The first copy: of copies drawn at random, a draw like each."""
    return first_of_copies(weight.dynamic.detach())


def zeros_of(weight: PADWeight) -> Tensor:
    """Nothing."""
    return torch.zeros_like(weight.dynamic[0])


def weighted_by(counted: Shares) -> StaticValue:
    """The mean of the copies, weighted unit by unit."""

    def value(weight: PADWeight) -> Tensor:
        return weighted_mean(weight.dynamic.detach(), map(weight.layout.along_units, counted[weight]))

    return value


def unweighted(values: StaticValues) -> StaticValue:
    """What a PartitionConfig calls so, with copies that all count the same."""
    return {"fresh": first_of, "none": zeros_of}.get(values, mean_of)


def weighted(
    values: StaticValues, model: nn.Module, batches: Sequence[Batch], on_batch: Callable[[], object] = lambda: None
) -> StaticValue:
    """What a PartitionConfig calls "fisher" or "usage", from the batches. Call it inside `no_trace`.

    Raises PADNetError if a batch gives no loss, or one that is not finite.
    """
    return weighted_by(shares(values, model, batches, on_batch))


def shares(
    values: StaticValues, model: nn.Module, batches: Sequence[Batch], on_batch: Callable[[], object] = lambda: None
) -> Shares:
    """By what "fisher" or "usage" weights the copies. Call it inside `no_trace`. Raises PADNetError as `weighted`."""
    return (_shares_by_gradients if values == "fisher" else _shares_by_usage)(model, batches, on_batch)


def _shares_by_gradients(model: nn.Module, batches: Sequence[Batch], on_batch: Callable[[], object]) -> Shares:
    """A unit of a copy counts for the sum of its squared gradients, over its elements in all weights and over batches.

    After Fisher merging (Matena and Raffel 2022), with one number per copy and unit instead of one per element (ours).
    """
    sums = {}
    for group in mask_groups(model, "unit"):
        for weights in (group.weights, *((follower,) for follower in group.followers)):
            sums |= dict.fromkeys(weights, _zeros(weights[0]))
    weight_of = {weight.dynamic: weight for weight in sums}

    def take(parameter: nn.Parameter) -> None:
        weight = weight_of[parameter]
        for total, gradient in zip(sums[weight], parameter.grad, strict=True):
            total += weight.layout.per_unit(gradient.float().square())

    each_gradient(model, list(weight_of), batches, take, on_batch)
    sum_in_place(list({id(total): total for total in sums.values()}.values()))
    return {weight: _normalised(total) for weight, total in sums.items()}


def _shares_by_usage(model: nn.Module, batches: Sequence[Batch], on_batch: Callable[[], object]) -> Shares:
    """A copy counts for the sum of what it was mixed with, over tokens or images."""
    layers = list(pad_layers(model).values())
    try:
        for layer in layers:
            layer.usage = torch.zeros(layer.unit_group().weights[0].num_copies, device=_device(layer))
        with failing_together(), torch.no_grad():
            run_batches(model, batches, on_batch)
        usages = [layer.usage for layer in layers]
    finally:
        for layer in layers:
            layer.usage = None
    sum_in_place(usages)
    shares = {}
    for layer, usage in zip(layers, usages, strict=True):
        group = layer.unit_group()
        shares |= dict.fromkeys((*group.weights, *group.followers), _normalised(usage.unsqueeze(1)))
    return shares


def _zeros(weight: PADWeight) -> Tensor:
    return torch.zeros(weight.num_copies, weight.layout.num_unit_values, device=weight.values.device)


def _device(layer: nn.Module) -> torch.device:
    return next(layer.parameters()).device


def _normalised(sums: Tensor) -> Tensor:
    """Sums (E, U) -> shares; equal ones where all are zero."""
    total = sums.sum(dim=0)
    return torch.where(total > 0, sums / total, 1 / len(sums))
