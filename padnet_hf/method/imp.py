"""Iterative mode partition (PAD-Net, section 3.3): choose the dynamic share from a few batches, before training."""

import logging
from collections.abc import Iterable, Sequence
from typing import get_args

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized
from tqdm.auto import tqdm

from padnet_hf.errors import PADNetError
from padnet_hf.method.candidates import candidates
from padnet_hf.method.config import PartitionConfig
from padnet_hf.method.conversion import Undo, undone_on_error
from padnet_hf.method.criteria import criterion_named
from padnet_hf.method.layer import (
    MaskGroup,
    MultiplyAdds,
    freeze_idle_routing,
    hash_masks,
    mask_groups,
    pad_layers,
    pad_weights,
)
from padnet_hf.method.layout import Form
from padnet_hf.method.packing import unpack_mask
from padnet_hf.method.processes import failing_together, from_all
from padnet_hf.method.relatedness import relatedness
from padnet_hf.method.report import PartitionReport, report
from padnet_hf.method.scoring import Batch, no_trace, score_parameters, take
from padnet_hf.method.shards import is_sharded
from padnet_hf.method.static_values import StaticValue, mean_of, unweighted, weighted
from padnet_hf.method.target_size import with_ratio
from padnet_hf.method.trial import copies_are_equal, trials
from padnet_hf.method.work import count_work

logger = logging.getLogger(__name__)

_IN_WORDS = {
    "mean": "their mean",
    "fresh": "the first of them",
    "fisher": "their mean, weighted by squared gradients",
    "usage": "their mean, weighted by how much each was used",
}
"""Names of static values."""


@torch.inference_mode(False)  # scores are gradients, and the model is trained afterwards
def partition(
    model: nn.Module,
    batches: Iterable[Batch] | None = None,
    config: PartitionConfig | None = None,
    *,
    progress: bool = True,
    undo: Undo = "memory",
) -> PartitionReport:
    """Make all but the chosen share of a fully dynamic model static, in place; its parameters are compact afterwards.

    Call it before the optimizer and any wrapping (DDP, FSDP) exist: parameters are replaced. On an error or an
    interrupt the model is as it was. With several processes (torch.distributed) every process calls it with its own
    batches, or none where there are more processes than batches; scores are summed, so all choose the same.

    Args:
        model: any module with PAD layers, for instance a `PADBertForSequenceClassification`.
        batches: keyword dictionaries for `model`, labels included, so that it gives a loss. The first
            `config.num_batches` are used, in every round. Criteria without gradients, and ratios 0 and 1, need none.
        config: how to choose; `PartitionConfig.for_model(model)` if not given.
        progress: show a progress bar.
        undo: how the model comes back after an error, if its copies differ: they are kept in "memory", a second time
            what they take, or in a temporary "file" (TMPDIR says where). With "none" it does not, which the error says.

    Returns:
        What became of every layer, and sizes before and after.

    Raises:
        PADNetError: no PAD layers, partitioned already, parameters sharded (tensor or expert parallelism, FSDP2), no
            batches, a batch without or with a non-finite loss.
    """
    if undo not in get_args(Undo):
        raise PADNetError(f"undo is {undo!r}, but must be one of {', '.join(map(repr, get_args(Undo)))}.")
    _check_model(model)
    copies_differ = not all(copies_are_equal(weight.dynamic) for weight in pad_weights(model).values())
    config = with_ratio(config or PartitionConfig.for_model(model), model).resolved(copies_differ)
    weighs = copies_differ and config.static_values in ("fisher", "usage") and config.dynamic_ratio < 1
    needs_batches = weighs or (criterion_named(config.criterion).needs_gradients and 0 < config.dynamic_ratio < 1)
    with failing_together():
        taken = take(batches, config.num_batches) if needs_batches else []
    if needs_batches and not any(from_all(len(taken))):
        raise PADNetError(
            f"there are no calibration batches, but the criterion {config.criterion!r} with static values "
            f"{config.static_values!r} needs at least 1 (num_batches is {config.num_batches}); pass an iterable of "
            "keyword dictionaries with labels, for instance a DataLoader."
        )
    groups = mask_groups(model, config.granularity)
    for weight in (weight for group in groups for weight in (*group.weights, *group.followers)):
        weight.layout.shapes(Form(weight.num_candidates(config.granularity), config.granularity, config.masks))
    static = _weigh_copies(model, taken, config, progress) if weighs else unweighted(config.static_values)
    masks = choose_masks(model, groups, taken, config, progress, static)
    record = config.to_dict() | {"num_samples": _count_samples(taken), "mask_hash": hash_masks(masks)}
    if config.dynamic_ratio < 1:
        _tell_changed_outputs(model, config, groups, masks)
    with undone_on_error(static, undo) as convert:
        for group, bits in zip(groups, masks, strict=True):
            mask = unpack_mask(bits, group.weights[0].num_candidates(config.granularity))
            for weight in group.weights:
                convert(weight, mask, config.granularity)
            for weight in group.followers:
                convert(weight, mask.any().view(1), config.granularity)
        result = report(model, record, _work(model, taken or batches))
        if hasattr(model, "record_partition"):
            model.record_partition(record)
    freeze_idle_routing(model)
    return result


def _check_model(model: nn.Module) -> None:
    weights, name = pad_weights(model), type(model).__name__
    if not weights:
        raise PADNetError(
            f"{name} has no dynamic layers to partition; build one first, for instance with "
            "PADBertForSequenceClassification.from_dense(...)."
        )
    if is_sharded(model.parameters()):
        raise PADNetError(
            f"the parameters of this {name} are spread over processes, but a partition looks at whole "
            "weights: call partition() first, save the model, and load that with its DistributedConfig (or start FSDP)."
        )
    if hasattr(model, "check_before_partition"):
        model.check_before_partition()
    if getattr(model, "is_partitioned", False) or not all(weight.is_fully_dynamic for weight in weights.values()):
        raise PADNetError(
            f"this {name} is partitioned already; to choose again, start from the fully dynamic model "
            "(from_dense, or its checkpoint)."
        )
    of_layers = {weight for group in mask_groups(model, "element") for weight in group.weights}
    for path, weight in weights.items():
        if weight not in of_layers:
            raise PADNetError(
                f"the PADWeight {path!r} of this {name} is in no PAD layer, which would say what its units are and "
                "how it is computed: put it into a subclass of padnet_hf.method.layer.PADLayer."
            )
        if is_parametrized(weight) or path.endswith(".base_layer"):
            raise PADNetError(
                f"something is wrapped around {path!r} of this {name}, an adapter or a parametrization, but a "
                "partition replaces parameters: call partition() first, then add it."
            )


def _tell_changed_outputs(
    model: nn.Module, config: PartitionConfig, groups: Sequence[MaskGroup], masks: Sequence[Tensor]
) -> None:
    """Say that outputs change: where values that differ become one, are left out, or are not weighted any more."""
    weights = pad_weights(model).values()
    are_equal = all(copies_are_equal(weight.dynamic) for weight in weights)  # the usual case, seen at once
    if config.static_values == "none":
        reason = "are all equal, so that what is left out of each is chosen by little" if are_equal else "differ"
        logger.warning(
            "The copies of this model %s. Each becomes smaller by what is left out of it, so outputs change: %s.",
            reason,
            "upcycled experts lose what their dense model learned, leave units out of trained ones"
            if are_equal
            else "train on afterwards",
        )
        return
    if not are_equal:
        logger.warning(
            "The copies of this model differ, by up to %.2g %% of a layer's energy. Where they become static they are "
            "replaced by %s, so its outputs change: train on afterwards.",
            100 * max(relatedness(model).values()),
            _IN_WORDS[config.static_values],
        )
    pairs = zip(groups, masks, strict=True)
    static = {w for group, bits in pairs if config.masks == "shared" or not bits.any() for w in group.weights}
    weighted = [
        name
        for name, layer in pad_layers(model).items()
        if not layer.mixes_to_one() and static.intersection(pad_weights(layer).values())
    ]
    if weighted:
        logger.warning(
            "In %d layers (%s, ...) the weights of the copies do not sum to one for every input, as a static value's "
            "does, so outputs change: train on afterwards.",
            len(weighted),
            weighted[0],
        )


def _weigh_copies(model: nn.Module, batches: Sequence[Batch], config: PartitionConfig, progress: bool) -> StaticValue:
    """The static values for which the batches have to be run."""
    parameters = [weight.dynamic for weight in pad_weights(model).values()]
    bar = tqdm(total=len(batches), desc="weigh copies", unit="batch", disable=not progress)
    with bar, no_trace(model, parameters):
        return weighted(config.static_values, model, batches, bar.update)


def choose_masks(
    model: nn.Module,
    groups: Sequence[MaskGroup],
    batches: Sequence[Batch],
    config: PartitionConfig,
    progress: bool,
    static: StaticValue = mean_of,
) -> list[Tensor]:
    """The masks of IMP's last round as bits, over the N elements or U units of each of `groups`.

    (ceil(N/8),) uint8, or (E, ceil(N/8)) where each copy has a mask of its own.
    """
    remaining = candidates(groups, config)
    if config.dynamic_ratio in (0, 1):
        return [bits * int(config.dynamic_ratio) for bits in remaining.masks]
    criterion = criterion_named(config.criterion)
    generator = torch.Generator().manual_seed(config.seed)
    steps = config.num_rounds * max(len(batches), 1)
    bar = tqdm(total=steps, desc="partition", unit="batch", disable=not progress)
    scored = [weight.dynamic for weight in remaining.weights]

    def reduce(number: int, contribution: Tensor) -> Tensor:
        return remaining.reduced(remaining.weights[number], contribution)

    with bar, no_trace(model, scored), trials(remaining.weights, config.granularity) as by_weight:
        for number in range(1, config.num_rounds + 1):
            contributions = score_parameters(
                *(model, scored, batches, criterion, generator),
                static=lambda number, _: by_weight[remaining.weights[number]].static(static),
                reduce=reduce,
                on_batch=bar.update,
                per_copy=config.masks == "per_copy",
            )
            remaining.select(contributions, config.share_after(number))
            if number < config.num_rounds:
                for weight, trial in by_weight.items():
                    trial.apply(remaining.mask_of(weight), config.static_branch, static)
        bar.update(steps - bar.n)
    return remaining.masks


def _work(model: nn.Module, batches: Iterable[Batch] | None) -> dict[str, MultiplyAdds]:
    """Multiply-adds by layer: a PAD model knows what inputs to count with, of others a batch tells."""
    if hasattr(model, "count_work"):
        return model.count_work()
    first = next(iter(batches or ()), None)
    return {} if first is None else count_work(model, first)


def _count_samples(batches: Sequence[Batch]) -> int:
    """Samples in these batches, over all processes."""
    lengths = (next((len(v) for v in batch.values() if isinstance(v, Tensor) and v.dim()), 0) for batch in batches)
    return sum(from_all(sum(lengths)))
