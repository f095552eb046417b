"""Iterative mode partition as DESIGN's pseudo code says it, dense and slow: explicit relaxed masks, and sorting."""

import copy

import torch
from torch import Tensor, nn

from padnet_hf.method.config import PartitionConfig
from padnet_hf.method.layer import pad_weights

_UNIT_DIMS = {"up_proj": 0, "up_proj_bias": 0, "down_proj": 1}


def reference_static_values(model: nn.Module, batches: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Static values (*shape) of every PADWeight, where a unit of a copy counts for its squared gradients."""
    model = copy.deepcopy(model).eval()
    weights = pad_weights(model)
    sums: dict[tuple[str, int, int], float] = {}  # layer, or weight without units; copy; unit
    for batch in batches:
        gradients = torch.autograd.grad(model(**batch)["loss"], [weight.dynamic for weight in weights.values()])
        for name, gradient in zip(weights, gradients, strict=True):
            for e in range(len(gradient)):
                for unit, values in enumerate(gradient[e].movedim(max(_unit_dim(name), 0), 0)):
                    key = (_owner(name), e, unit)
                    sums[key] = sums.get(key, 0.0) + values.square().sum().item()
    found = {}
    for name, weight in weights.items():
        copies, dim = weight.dynamic.detach(), max(_unit_dim(name), 0)
        static = torch.zeros_like(copies[0])
        for unit in range(static.shape[dim]):
            counts = [sums[_owner(name), e, unit] for e in range(len(copies))]
            counts = counts if sum(counts) > 0 else [1.0] * len(copies)
            for e, count in enumerate(counts):
                static.movedim(dim, 0)[unit] += count / sum(counts) * copies[e].movedim(dim, 0)[unit]
        found[name] = static
    return found


def _owner(name: str) -> str:
    return name.rpartition(".")[0] if _unit_dim(name) >= 0 else name


def reference_masks(
    model: nn.Module,
    batches: list[dict[str, Tensor]],
    config: PartitionConfig,
    static: dict[str, Tensor] | None = None,
) -> dict[str, Tensor]:
    """Mask (*shape) over the elements of every PADWeight of a fully dynamic model, by the weight's name.

    static: its static values; the means without.
    """
    model = copy.deepcopy(model).eval()
    theta = {name: weight.dynamic.detach().clone() for name, weight in pad_weights(model).items()}
    static = static or {name: values.mean(dim=0) for name, values in theta.items()}
    groups = _groups(list(theta), config.granularity)
    masks = [torch.ones(_num_candidates(group, theta, config.granularity), dtype=torch.float64) for group in groups]
    for number in range(1, config.num_rounds + 1):
        relaxed = [mask.clone().requires_grad_() for mask in masks]
        expanded = dict.fromkeys(theta, torch.ones((), dtype=torch.float64))
        for group, mask in zip(groups, relaxed, strict=True):
            expanded |= {name: _expand(mask, name, theta, config.granularity) for name in group}
        parameters = {}
        for name, mask in expanded.items():
            kept = (1 - mask.detach()) * static[name] if config.static_branch == "keep" else 0
            parameters[f"{name}.dynamic"] = mask * theta[name] + kept
        if config.criterion == "fisher":
            scores = _fisher(model, batches, parameters, theta, static, groups, config.granularity)
        else:
            loss = sum(torch.func.functional_call(model, parameters, kwargs=batch)["loss"] for batch in batches)
            scores = [gradient.abs() for gradient in torch.autograd.grad(loss, relaxed)]
        kappa, progress = config.dynamic_ratio, number / config.num_rounds
        share = kappa**progress if config.schedule == "exponential" else 1 - progress + progress * kappa
        masks = _select(scores, masks, share, config)
    final = {}
    for group, mask in zip(groups, masks, strict=True):
        final |= {name: _expand(mask, name, theta, config.granularity) for name in group}
    return {name: final.get(name, torch.ones(values.shape[1:])).bool() for name, values in theta.items()}


def _fisher(
    model: nn.Module,
    batches: list[dict[str, Tensor]],
    parameters: dict[str, Tensor],
    theta: dict[str, Tensor],
    static: dict[str, Tensor],
    groups: list[list[str]],
    granularity: str,
) -> list[Tensor]:
    """sum over batches, copies and a candidate's elements of (dL/dTheta)^2 (Theta - static)^2."""
    shown = {name: value.detach().requires_grad_() for name, value in parameters.items()}
    totals = {name: torch.zeros_like(values[0]) for name, values in theta.items()}
    for batch in batches:
        loss = torch.func.functional_call(model, shown, kwargs=batch)["loss"]
        gradients = dict(
            zip(theta, torch.autograd.grad(loss, [shown[f"{name}.dynamic"] for name in theta]), strict=True)
        )
        for name, values in theta.items():
            totals[name] += (gradients[name] * (values - static[name])).square().sum(dim=0)
    if granularity == "element":
        return [totals[name].flatten() for (name,) in groups]
    return [
        sum(
            totals[name].movedim(_unit_dim(name), 0).flatten(1).sum(1) if totals[name].dim() > 1 else totals[name]
            for name in group
        )
        for group in groups
    ]


def _groups(names: list[str], granularity: str) -> list[list[str]]:
    if granularity == "element":
        return [[name] for name in names]
    layers = dict.fromkeys(name.rpartition(".")[0] for name in names)
    return [[name for name in names if name.rpartition(".")[0] == layer and _unit_dim(name) >= 0] for layer in layers]


def _unit_dim(name: str) -> int:
    return _UNIT_DIMS.get(name.rpartition(".")[2], -1)


def _num_candidates(group: list[str], theta: dict[str, Tensor], granularity: str) -> int:
    shape = theta[group[0]].shape[1:]
    return shape.numel() if granularity == "element" else shape[_unit_dim(group[0])]


def _expand(mask: Tensor, name: str, theta: dict[str, Tensor], granularity: str) -> Tensor:
    shape = theta[name].shape[1:]
    if granularity == "element":
        return mask.view(shape)
    return mask.view([-1 if dim == _unit_dim(name) else 1 for dim in range(len(shape))]).expand(shape)


def _select(scores: list[Tensor], masks: list[Tensor], share: float, config: PartitionConfig) -> list[Tensor]:
    """Of the candidates still dynamic, those with the highest scores."""
    together = [list(range(len(scores)))] if config.scope == "global" else [[group] for group in range(len(scores))]
    selected = [torch.zeros_like(mask) for mask in masks]
    for groups in together:
        ranked = {
            group: sorted(masks[group].nonzero().flatten().tolist(), key=lambda i, g=group: (-scores[g][i].item(), i))
            for group in groups
        }
        if config.granularity == "element":
            count = round(share * sum(len(scores[group]) for group in groups))
            keys = sorted((-scores[group][i].item(), group, i) for group in groups for i in ranked[group])
            for _, group, i in keys[:count]:
                selected[group][i] = 1
            continue
        count = max(round(share * sum(len(scores[group]) // 8 for group in groups)), len(groups))
        keys = []
        for group in groups:
            for block in range(len(ranked[group]) // 8):
                total = sum(scores[group][i].item() for i in ranked[group][8 * block : 8 * block + 8])
                keys.append((-total if block else -float("inf"), group, block))  # every layer keeps its best block
        for _, group, block in sorted(keys)[:count]:
            selected[group][ranked[group][8 * block : 8 * block + 8]] = 1
    return selected
