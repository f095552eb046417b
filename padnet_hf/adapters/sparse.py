"""Adapters pruned before training, after SparseAdapter (He et al., Findings of EMNLP 2022).

A pruned entry is zero and stays zero: it gets no gradient, and what a step of an optimizer makes of it nevertheless, as
those do that mix the entries of a matrix, is set to zero again. In files it is a *negative* zero, a kept entry that is
zero a positive one. So the mask takes no room, the file is a stock PEFT adapter, and whatever loads it brings the mask
along (ours).
"""

from collections.abc import Iterable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_post_hook
from torch.utils.weak import WeakIdKeyDictionary

from padnet_hf.adapters.extra import import_peft
from padnet_hf.errors import PADNetError
from padnet_hf.method.criteria import Criterion, criterion_named, criterion_names
from padnet_hf.method.scoring import Batch, no_trace, score_parameters, take
from padnet_hf.method.selection import select_elements

_STEP = 0.01
"""Length of the step that wakes tensors of zeros, as a share of the root mean square of the other ones."""

_KEPT = "kept_"
"""Begins the names of the masks, buffers beside the parameters they are for: copies of a model have them too."""

_MASKED: WeakIdKeyDictionary = WeakIdKeyDictionary()
"""Parameters whose gradients are masked -> mask (*shape) of the entries that are trained."""

_GRADIENT = Criterion("gradient", lambda weight: weight.gradients.float().sum(dim=0), True)


class AdapterSparsity(NamedTuple):
    """Entries of an adapter's tensors: those that are trained, and all."""

    kept: int
    total: int


class _Entry(NamedTuple):
    """A tensor of an adapter, the module that stores it, and PEFT's layer that computes with it."""

    module: nn.Module
    name: str
    parameter: nn.Parameter
    layer: nn.Module


def sparsify_adapter(
    model: nn.Module,
    batches: Iterable[Batch] | None = None,
    *,
    sparsity: float = 0.8,
    criterion: str = "snip",
    scope: str = "layer",
    num_batches: int = 8,
    seed: int = 42,
    adapter: str = "default",
) -> AdapterSparsity:
    """Prune a fresh adapter of a PEFT model in place, keeping the entries with the best scores; then train it as usual.

    A rank r at sparsity s trains as many entries as a rank (1 - s) r without; SparseAdapter's "Large-Sparse" uses that
    for a larger rank. Scores and selection are those of `partition`. A tensor of zeros, as LoRA's B is before training,
    has no magnitude, and by it no gradient reaches A: so gradients and magnitudes are taken one small step of gradient
    descent later, made by the tensors of zeros alone (ours; the model is as before afterwards).

    Args:
        model: with an adapter of PEFT's, trainable. Heads and routers trained in full are not touched.
        batches: as for `partition`; without effect on the criterion "random", which needs none.
        sparsity: share of the entries that is pruned, 0 up to but not 1.
        criterion: "snip", "magnitude", "random" or a name given to `register_criterion`.
        scope: "layer": the share is reached in every tensor. "global": over all together.
        num_batches: batches used.
        seed: of the criterion "random".
        adapter: its name.

    Raises PADNetError for a value out of range, without an adapter or batches, for an adapter that is sparse already,
    and where a tensor would lose all entries. The model is then as it was.
    """
    check_sparsity(sparsity, criterion, scope)
    entries = _entries(model, adapter)
    if any(_pruned(entry.parameter).any() for entry in entries):
        raise PADNetError(f"the adapter {adapter!r} is sparse already; start from a fresh one.")
    parameters = [entry.parameter for entry in entries]
    scores = _scores(model, parameters, take(batches, num_batches), criterion_named(criterion), seed)
    sizes = [parameter.numel() for parameter in parameters]
    masks = select_elements([score.flatten().abs() for score in scores], 1 - sparsity, scope, sizes)
    for mask in masks:
        if not mask.any():
            raise PADNetError(
                f"at a sparsity of {sparsity} nothing would be kept of a tensor of {mask.numel()} entries, and its "
                "partner would train for nothing: lower the sparsity, or use scope 'layer'."
            )
    if sparsity > 0:
        for entry, mask in zip(entries, masks, strict=True):
            _keep(entry, mask.view(entry.parameter.shape))
    return AdapterSparsity(sum(int(mask.sum()) for mask in masks), sum(mask.numel() for mask in masks))


def check_sparsity(sparsity: float, criterion: str, scope: str) -> None:
    """Raise PADNetError for a value that `sparsify_adapter` does not take."""
    if isinstance(sparsity, bool) or not isinstance(sparsity, int | float) or not 0 <= sparsity < 1:
        raise PADNetError(
            f"the adapter's sparsity is {sparsity!r}, but is a share to prune: give a number from 0 up to but not 1, "
            "for instance 0.8."
        )
    names = tuple(name for name in criterion_names() if name != "fisher")  # an adapter has no copies that could differ
    for name, value, choices in (("criterion", criterion, names), ("scope", scope, ("layer", "global"))):
        if value not in choices:
            raise PADNetError(f"{name} is {value!r}, but must be one of {', '.join(map(repr, choices))}.")


def restore_masks(model: nn.Module, adapter: str = "default") -> AdapterSparsity:
    """Go on training a sparse adapter that was loaded: only what was kept is trained again. Call it after every load.

    Raises PADNetError if the adapter is not trainable (load it with `is_trainable=True`) or not sparse.
    """
    entries = _entries(model, adapter)
    masks = [~_pruned(entry.parameter) for entry in entries]
    sparsity = AdapterSparsity(sum(int(mask.sum()) for mask in masks), sum(mask.numel() for mask in masks))
    if sparsity.kept == sparsity.total:
        raise PADNetError(f"the adapter {adapter!r} is not sparse: there is nothing to restore, train it as it is.")
    for entry, mask in zip(entries, masks, strict=True):
        _keep(entry, mask)
    return sparsity


def trained_parameters(model: nn.Module) -> int:
    """How many numbers training changes: of what requires a gradient, all but the pruned entries."""
    pruned = 0
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            mask = module._buffers.get(_KEPT + name)
            pruned += int((~mask).sum()) if mask is not None and parameter.requires_grad else 0
    return sum(p.numel() for p in model.parameters() if p.requires_grad) - pruned


def _entries(model: nn.Module, adapter: str) -> list[_Entry]:
    """Every matrix of the adapter, in the order of the model's modules."""
    layer_class = import_peft("peft.tuners.tuners_utils").BaseTunerLayer
    entries = []
    for layer in model.modules():
        if not isinstance(layer, layer_class):
            continue
        for container in (getattr(layer, name, None) for name in layer.adapter_layer_names):
            if isinstance(container, nn.ParameterDict) and adapter in container:
                entries.append(_Entry(container, adapter, container[adapter], layer))
            elif isinstance(container, nn.ModuleDict) and adapter in container:
                module = container[adapter]
                entries += [_Entry(module, *named, layer) for named in module.named_parameters(recurse=False)]
    entries = [entry for entry in entries if entry.parameter.dim() > 1]
    if not entries:
        raise PADNetError(
            f"{type(model).__name__} has no adapter {adapter!r} of PEFT's: make one first, for instance with "
            "peft.get_peft_model(model, padnet_hf.lora_config(model))."
        )
    if not all(entry.parameter.requires_grad for entry in entries):
        raise PADNetError(f"the adapter {adapter!r} is not trainable: load it with is_trainable=True.")
    return entries


def _scores(
    model: nn.Module, parameters: list[nn.Parameter], batches: list[Batch], criterion: Criterion, seed: int
) -> list[Tensor]:
    """Contributions of every entry, in the shapes of the parameters."""
    asleep = [number for number, parameter in enumerate(parameters) if not parameter.any()]
    wakes = bool(asleep) and criterion.name != "random"
    if not batches and (criterion.needs_gradients or wakes):
        raise PADNetError(
            f"the criterion {criterion.name!r} needs at least 1 batch, of keyword dictionaries with labels: LoRA's B "
            "is zero before training, so its entries differ by their gradients alone. Only 'random' needs none."
        )
    generator = torch.Generator().manual_seed(seed)
    try:
        with no_trace(model, parameters):
            if wakes:
                gradients = score_parameters(model, parameters, batches, _GRADIENT, generator, as_copies=_one_copy)
                _step(parameters, {number: gradients[number] for number in asleep})
            return score_parameters(model, parameters, batches, criterion, generator, as_copies=_one_copy)
    finally:
        for number in asleep:
            parameters[number].detach().zero_()


def _one_copy(tensor: Tensor) -> Tensor:
    return tensor.unsqueeze(0)


@torch.no_grad()
def _step(parameters: list[nn.Parameter], gradients: dict[int, Tensor]) -> None:
    """A step of gradient descent by those tensors that have one, of one learning rate for all."""
    size = _root_mean_square([p for number, p in enumerate(parameters) if number not in gradients])
    steepness = _root_mean_square(list(gradients.values()))
    if steepness > 0:
        for number, gradient in gradients.items():
            parameters[number].sub_((_STEP * (size or 1) / steepness) * gradient)


def _root_mean_square(tensors: list[Tensor]) -> float:
    count = sum(tensor.numel() for tensor in tensors)
    return (sum(float(tensor.double().square().sum()) for tensor in tensors) / count) ** 0.5 if count else 0.0


def _pruned(parameter: Tensor) -> Tensor:
    return (parameter == 0) & parameter.signbit()


@torch.no_grad()
def _keep(entry: _Entry, mask: Tensor) -> None:
    """Train and store only what is under the mask (*shape)."""
    module, name, parameter, layer = entry
    parameter.masked_fill_(~mask, -0.0)
    module.register_buffer(_KEPT + name, mask, persistent=False)
    if _mark_pruned not in module._state_dict_hooks.values():
        module.register_state_dict_post_hook(_mark_pruned)
    if _mask_gradients not in layer._forward_pre_hooks.values():
        layer.register_forward_pre_hook(_mask_gradients)
    _mask_gradients(layer)


def _mask_gradients(layer: nn.Module, _: object = None) -> None:
    """See that the gradients of this layer's pruned parameters are masked. A copy of a parameter has no hooks yet."""
    if torch.compiler.is_compiling():
        return
    for module in layer.modules():
        for name, mask in module._buffers.items():
            parameter = module._parameters.get(name.removeprefix(_KEPT)) if name.startswith(_KEPT) else None
            if parameter is not None and parameter not in _MASKED:
                _MASKED[parameter] = mask
                parameter.register_hook(partial(_masked, mask=mask))


def _masked(gradient: Tensor, mask: Tensor) -> Tensor:
    return gradient.masked_fill(~mask.to(gradient.device), 0)


@torch.no_grad()
def _zero_pruned(optimizer: torch.optim.Optimizer, *_: object) -> None:
    for group in optimizer.param_groups if _MASKED else ():
        for parameter in group["params"]:
            if (mask := _MASKED.get(parameter)) is not None:
                parameter.masked_fill_(~mask.to(parameter.device), -0.0)


register_optimizer_step_post_hook(_zero_pruned)


def _mark_pruned(module: nn.Module, state: dict[str, Tensor], prefix: str, metadata: object) -> None:
    for name, mask in module._buffers.items():
        key = prefix + name.removeprefix(_KEPT)
        if name.startswith(_KEPT) and key in state:
            kept = mask.to(state[key].device)
            state[key] = (state[key] + 0.0).masked_fill(~kept, -0.0)  # -0.0 + 0.0 is 0.0
