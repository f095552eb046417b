"""Other ways to make trained experts smaller, to the bytes that a partition with one mask for all copies would store.

They are tried on the fully dynamic network: what a way would not store is filled in from what it would, so that its
answers are those of the smaller network. Each changes the model in place and returns how much it would store of the
experts, as a share. Sizes are rounded in favour of the rival: 5 whole experts where a partition stores 4.5.

Axis letters: E experts, N elements of one copy, U units, L layers.
"""

from collections.abc import Iterable, Sequence
from functools import partial

import torch
from torch import Tensor, nn

import studies.cell.criteria  # noqa: F401 (registers its criteria)
from padnet_hf import PartitionConfig, partition
from padnet_hf.layers.feed_forward import PADFeedForward
from padnet_hf.layers.router import NoisyTopKRouter, Routing
from padnet_hf.method.layer import pad_weights
from padnet_hf.method.scoring import Batch
from padnet_hf.method.weight import PADWeight
from studies.cell.arguments import fewer_copies
from studies.cell.experts import routed_layers
from studies.cell.methods import prune
from studies.late.statistics import Statistics


def copies_stored(model: nn.Module, ratio: float) -> tuple[int, float]:
    """E, and how many copies' bytes a partition with one mask for all stores: E kappa + 1 - kappa."""
    copies = next(iter(pad_weights(model).values())).num_copies
    return copies, copies * ratio + 1 - ratio


def drop(model: nn.Module, found: Statistics, ratio: float, *, by: str, over_all: bool) -> float:
    """Leave out the experts of least `by` ("usage" or "saliency"), as many in each layer, or the least `over_all`.

    Every layer keeps as many as a token passes.
    """
    layers, (copies, stored) = routed_layers(model), copies_stored(model, ratio)
    scores = torch.stack([getattr(found, by)[name] for name in layers])
    kept = (
        _best_over_all(scores, stored, layers.values())
        if over_all
        else _best_of_each(scores, fewer_copies(copies, ratio))
    )
    for layer, stays in zip(layers.values(), kept, strict=True):
        layer.router.register_forward_hook(_Forgotten(~stays))
    return kept.sum().item() / (len(layers) * copies)


def _best_of_each(scores: Tensor, count: int) -> Tensor:
    """(L, E) bool."""
    return torch.zeros_like(scores, dtype=torch.bool).scatter(1, scores.topk(count, dim=1).indices, True)


def _best_over_all(scores: Tensor, stored: float, layers: Iterable[PADFeedForward]) -> Tensor:
    """(L, E) bool."""
    needed = torch.stack(
        [_best_of_each(s[None], layer.router.top_k)[0] for s, layer in zip(scores, layers, strict=True)]
    )
    ranked = scores.masked_fill(needed, torch.inf).flatten()
    kept = torch.zeros_like(needed).flatten()
    kept[ranked.topk(int(len(scores) * stored + 0.5)).indices] = True
    return kept.view_as(needed)


class _Forgotten:
    """Hook of a router: experts that it does not choose any more."""

    def __init__(self, gone: Tensor) -> None:
        self._gone = gone  # (E,) bool

    def __call__(self, router: NoisyTopKRouter, inputs: tuple[Tensor], routing: Routing) -> Routing:
        noisy = routing.noisy.masked_fill(self._gone, -torch.inf)
        top, index = noisy.topk(router.top_k, dim=-1)
        return routing._replace(weights=top.softmax(dim=-1), index=index)


@torch.no_grad()
def merge(model: nn.Module, found: Statistics, ratio: float, *, by: str) -> float:
    """Merge each expert into the one of the most used that the router treats most alike; weighted by `by`.

    In the manner of M-SMoE (Li et al. 2024), without its alignment of neurons: copies of one network are aligned.
    """
    copies, _ = copies_stored(model, ratio)
    count = fewer_copies(copies, ratio)
    for name, layer in routed_layers(model).items():
        heads = found.usage[name].topk(count).indices
        group = heads[found.likeness[name][:, heads].argmax(dim=1)]
        group[heads] = heads
        for own, weight in pad_weights(layer).items():
            _merge_groups(weight, group, found.shares[by][f"{name}.{own}"])
    return count / copies


def _merge_groups(weight: PADWeight, group: Tensor, shares: Tensor) -> None:
    """Give all copies of a group, (E,) numbers of groups, their average by `shares`, (E, U)."""
    for number in group.unique():
        members = group == number
        own = shares[members]
        total = own.sum(dim=0)
        own = torch.where(total > 0, own / total, 1 / len(own))
        copies = zip(weight.dynamic[members], map(weight.layout.along_units, own), strict=True)
        weight.dynamic[members] = sum(copy * share for copy, share in copies)
    weight.dynamic.register_hook(partial(_of_groups, group))


def _of_groups(group: Tensor, gradient: Tensor) -> Tensor:
    """Gradients (E, ...) of copies that are one: each has the sum of its group, so that training keeps them equal."""
    return torch.zeros_like(gradient).index_add(0, group, gradient)[group]


@torch.no_grad()
def low_rank(model: nn.Module, ratio: float) -> float:
    """Each copy becomes the mean of all and a difference of low rank, the best one in the sum of squares.

    Biases stay as they are. Stored are N + E rank (rows + columns) numbers of a weight.
    """
    stored = full = 0.0
    for weight in pad_weights(model).values():
        copies, size = weight.num_copies, weight.shape.numel()
        full += copies * size
        if len(weight.shape) == 1:
            stored += copies * size
            continue
        rank = int((copies - 1) * ratio * size / (copies * sum(weight.shape)))
        mean = weight.dynamic.mean(dim=0)
        for copy in weight.dynamic:
            left, values, right = torch.linalg.svd(copy - mean, full_matrices=False)
            copy.copy_(mean + (left[:, :rank] * values[:rank]) @ right[:rank])
        stored += size + copies * rank * sum(weight.shape)
    return stored / full


def prune_each(model: nn.Module, batches: Sequence[Batch], ratio: float) -> float:
    """Every copy keeps the elements whose loss costs most (their squared value times their squared gradient, the Fisher
    pruning of Theis et al. 2018), and is zero elsewhere; the bits that say which are stored too.
    """
    copies, stored = copies_stored(model, ratio)
    kept = stored / copies - (1 / 32 if ratio else 0)
    fields = {"masks": "per_copy", "criterion": "fisher_pruning", "static_values": "mean", "num_rounds": 1}
    partition(model, batches, PartitionConfig(dynamic_ratio=kept, num_batches=len(batches), **fields), progress=False)
    for weight in pad_weights(model).values():
        prune(weight)
    return stored / copies
