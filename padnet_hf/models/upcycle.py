"""From the weights of a stock model to a PAD one and back.

Upcycling makes E copies of a dense weight, and goes back where the copies agree; a trained mixture has its copies.
"""

import torch
from torch import Tensor, nn

from padnet_hf.errors import PADNetError
from padnet_hf.method.layer import pad_layers, pad_weights
from padnet_hf.method.shards import is_sharded
from padnet_hf.models.seams import Seam


def dense_sources(model: nn.Module, seam: Seam) -> dict[str, tuple[str, ...]]:
    """The dense weights that every PADWeight of the model stands for, by its name."""
    found: dict[str, tuple[str, ...]] = {}
    for name in pad_layers(model):
        found |= seam.sources(name)
    return found


@torch.no_grad()
def load_copies(model: nn.Module, dense: dict[str, Tensor], seam: Seam, *, use_up: bool = False) -> None:
    """Fill a fully dynamic model from a dense state dict: PADWeights get E copies, all else the same value.

    Where the seam says that the stock model has all copies, PADWeights get those.

    What exists only to route is left as it is. With `use_up` the dense tensors leave the dictionary: those that are
    copied when they are, so that both models never exist together, and the others become the model's own, with the
    copies that are there already.
    Raises PADNetError if a weight is missing or of another shape.
    """
    remaining, sources = dense if use_up else dict(dense), dense_sources(model, seam)
    for name, weight in pad_weights(model).items():
        missing = [key for key in sources[name] if key not in remaining]
        parts = [] if missing else [remaining.pop(key) for key in sources[name]]
        found = None if missing else parts[0] if len(parts) == 1 else torch.cat(parts)
        shape = weight.dynamic.shape if seam.has_copies else weight.shape
        if found is None or found.shape != shape:
            what = "missing" if found is None else f"of shape {tuple(found.shape)}"
            raise PADNetError(
                f"the dense weight {' and '.join(sources[name])!r} is {what}, but {name} needs the shape "
                f"{tuple(shape)}."
            )
        if seam.has_copies and use_up:
            weight.become({"dynamic": found})
        else:
            weight.dynamic.copy_(found.expand_as(weight.dynamic))
        del parts, found
    missing, unexpected = model.load_state_dict(remaining, strict=False, assign=use_up)
    missing = set(missing) - _own_parameters(model)
    if missing or unexpected:
        raise PADNetError(
            f"the dense model does not fit: missing {sorted(missing)[:3]}, unexpected {sorted(unexpected)[:3]}."
        )


def merged_state(model: nn.Module, seam: Seam) -> dict[str, Tensor]:
    """The state dict of the stock model that this one equals.

    Raises PADNetError where copies differ, unless the stock model has a place for each, or are spread.
    """
    if is_sharded(model.parameters()):
        raise PADNetError(
            f"the parameters of this {type(model).__name__} are spread over processes: save it, and load that in one "
            "process to make it dense."
        )
    for name, layer in pad_layers(model).items():
        if not layer.mixes_to_one() and not all(weight.is_static for weight in pad_weights(layer).values()):
            raise PADNetError(
                f"the kernels of {name} are weighted by an attention that was trained, and whose weights do not sum to "
                f"one ({layer.attention.function}), so no dense model gives the same logits; partition with "
                "dynamic_ratio=0 before training to get one that stays dense."
            )
    own, sources = _own_parameters(model), dense_sources(model, seam)
    state = {name: tensor for name, tensor in model.state_dict().items() if name not in own}
    for name, weight in pad_weights(model).items():
        if weight.leaves_out:
            raise PADNetError(
                f"{name} has {weight.num_dynamic_elements} of {weight.shape.numel()} elements in each copy, the others "
                "were left out (masks 'per_copy'), so no dense model of the same sizes gives the same logits; make "
                "it of the model that was partitioned."
            )
        if seam.has_copies:
            with torch.no_grad():
                state[sources[name][0]] = weight.build()
            continue
        copies = weight.build().detach() if weight.has_own_masks else weight.dynamic
        if copies is not None and not bool((copies == copies[:1]).all()):
            raise PADNetError(
                f"the {weight.num_copies} copies of {name} differ ({weight.num_dynamic_elements} of "
                f"{weight.shape.numel()} elements are dynamic), so no dense model gives the same logits; "
                "partition a fully dynamic model with dynamic_ratio=0 before training to get one that stays dense."
            )
        with torch.no_grad():
            parts = weight.build()[0].chunk(len(sources[name]))
        state |= dict(zip(sources[name], parts, strict=True))
    return state


def _own_parameters(model: nn.Module) -> set[str]:
    """State dict keys inside PAD layers: those of PADWeights and of routers."""
    return {f"{name}.{key}" for name, layer in pad_layers(model).items() for key in layer.state_dict()}
