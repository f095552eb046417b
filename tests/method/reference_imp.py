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
    """Mask over the elements of every PADWeight of a fully dynamic model, by the weight's name.

    (*shape), or (E, *shape) where each copy has its own. static: its static values; the means without.
    """
    model = copy.deepcopy(model).eval()
    theta = {name: weight.dynamic.detach().clone() for name, weight in pad_weights(model).items()}
    static = static or {name: values.mean(dim=0) for name, values in theta.items()}
    groups = _groups(list(theta), config.granularity)
    of_copies = (len(next(iter(theta.values()))),) if config.masks == "per_copy" else ()
    sizes = [_num_candidates(group, theta, config.granularity) for group in groups]
    masks = [torch.ones(*of_copies, size, dtype=torch.float64) for size in sizes]
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
            scores = _fisher(model, batches, parameters, theta, static, groups, config)
        else:
            loss = sum(torch.func.functional_call(model, parameters, kwargs=batch)["loss"] for batch in batches)
            scores = [gradient.abs() for gradient in torch.autograd.grad(loss, relaxed)]
        kappa, progress = config.dynamic_ratio, number / config.num_rounds
        share = kappa**progress if config.schedule == "exponential" else 1 - progress + progress * kappa
        masks = _select_own(scores, masks, share, config) if of_copies else _select(scores, masks, share, config)
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
    config: PartitionConfig,
) -> list[Tensor]:
    """sum over batches, a candidate's elements and copies with one mask of (dL/dTheta)^2 (Theta - static)^2."""
    shown = {name: value.detach().requires_grad_() for name, value in parameters.items()}
    totals = {name: torch.zeros_like(values) for name, values in theta.items()}
    for batch in batches:
        loss = torch.func.functional_call(model, shown, kwargs=batch)["loss"]
        gradients = dict(
            zip(theta, torch.autograd.grad(loss, [shown[f"{name}.dynamic"] for name in theta]), strict=True)
        )
        for name, values in theta.items():
            totals[name] += (gradients[name] * (values - static[name])).square()
    if config.granularity == "element":
        found = [totals[name].flatten(1) for (name,) in groups]
    else:
        by_unit = {
            name: total.movedim(1 + max(_unit_dim(name), 0), 1).flatten(2)
            for name, total in totals.items()
            if total.dim() > 2
        }
        found = [sum(by_unit[name].sum(2) if name in by_unit else totals[name] for name in group) for group in groups]
    return found if config.masks == "per_copy" else [scores.sum(dim=0) for scores in found]


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
    if mask.dim() == 2:
        return torch.stack([_expand(own, name, theta, granularity) for own in mask])
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


def _select_own(scores: list[Tensor], masks: list[Tensor], share: float, config: PartitionConfig) -> list[Tensor]:
    """Of each copy's candidates still dynamic those with the highest scores of its own, as many of every copy.

    The counts are those for which `_select` decides by the sum over copies of their best, their second best scores...
    """
    ranked = []
    for score, mask in zip(scores, masks, strict=True):
        pairs = zip(score, mask, strict=True)
        ranked.append(
            [sorted(own.nonzero().flatten().tolist(), key=lambda i, s=s: (-s[i].item(), i)) for s, own in pairs]
        )
    sums, running = [], []
    for score, orders in zip(scores, ranked, strict=True):
        sums.append(torch.zeros(score.shape[1], dtype=torch.float64))
        running.append(torch.zeros(score.shape[1]))
        for place in range(len(orders[0])):
            sums[-1][place] = sum(score[copy][order[place]].item() for copy, order in enumerate(orders))
            running[-1][place] = 1
    counts = [int(chosen.sum()) for chosen in _select(sums, running, share, config)]
    selected = [torch.zeros_like(mask) for mask in masks]
    for chosen, orders, count in zip(selected, ranked, counts, strict=True):
        for own, order in zip(chosen, orders, strict=True):
            own[order[:count]] = 1
    return selected
