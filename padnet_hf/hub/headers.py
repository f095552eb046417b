"""What safetensors headers say about a checkpoint, held against the model that its configuration asks for.

Nothing of the values is read, and no memory taken for them: the model may be on the meta device.
"""

import os
from collections.abc import Iterable, Mapping
from os import PathLike
from typing import Any

import torch
from huggingface_hub import parse_local_safetensors_file_metadata
from huggingface_hub.errors import SafetensorsParsingError
from huggingface_hub.utils import TensorInfo
from torch import Tensor
from transformers import PreTrainedModel

from padnet_hf.errors import PADCheckpointError
from padnet_hf.method.layer import pad_layers, pad_weights

_FLOATS = frozenset(("F64", "F32", "F16", "BF16"))
_DAMAGED = "The checkpoint is damaged, or its config.json was not saved with these weights: get both again."
_RESIZED = (
    "If you asked for another size, num_labels for instance: pass ignore_mismatched_sizes=True to start those "
    "tensors anew."
)
_EXACT = {torch.uint8: "U8", torch.int64: "I64", torch.int32: "I32", torch.bool: "BOOL"}


def read_headers(files: Iterable[str | PathLike[str]]) -> dict[str, TensorInfo]:
    """Tensors by name over all the files of a checkpoint. Raises PADCheckpointError for a damaged one."""
    tensors: dict[str, TensorInfo] = {}
    for file in files:
        try:
            tensors |= parse_local_safetensors_file_metadata(file).tensors
        except FileNotFoundError as error:
            raise PADCheckpointError(f"the file {str(file)!r} is missing, get the checkpoint again") from error
        except (SafetensorsParsingError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise PADCheckpointError(
                f"the file {str(file)!r} is damaged, get it again (from the Hub with force_download=True): {error}"
            ) from error
    return tensors


def check_inside(folder: str | PathLike[str], files: Iterable[str | PathLike[str]]) -> None:
    """Raise PADCheckpointError for a file that an index names but that does not lie in the checkpoint's folder."""
    inside = os.path.abspath(folder)  # links stay unresolved: the Hub's cache is made of them
    for file in files:
        if os.path.commonpath((inside, os.path.abspath(file))) != inside:
            raise PADCheckpointError(
                f"the index of the weights in {str(folder)!r} names {str(file)!r}, which lies outside of it: the "
                "checkpoint is damaged or not to be trusted."
            )


def check_headers(
    model: PreTrainedModel,
    found: Mapping[str, TensorInfo],
    source: str,
    *,
    sizes_may_differ: bool = False,
    changed: Mapping[str, tuple[Any, Any]] | None = None,
) -> None:
    """Raise PADCheckpointError unless the PAD layers' tensors, and all of a model of the same class, are as they must.

    A head may be missing, or be another one, where the checkpoint is of another class of the family; transformers
    reports that. With `sizes_may_differ`, tensors outside of PAD layers may have sizes of their own.

    Args:
        changed: options that differ from those the checkpoint was saved with, as (saved, asked for). With some, what
            only routes may be new or left over.
    """
    prefix = f"{model.base_model_prefix}."
    own = {name.removeprefix(prefix): tensor for name, tensor in model.state_dict().items()}
    there = {name.removeprefix(prefix): info for name, info in found.items()}
    layers = tuple(f"{name.removeprefix(prefix)}." for name in pad_layers(model))
    weights = tuple(f"{name.removeprefix(prefix)}." for name in pad_weights(model))
    is_same_class = model.config.architectures == [type(model).__name__]
    tied = {name.removeprefix(prefix) for name in model.all_tied_weights_keys}

    def ours(names: Iterable[str]) -> list[str]:
        needed = weights if changed else layers
        may_route = layers if changed else ()
        return sorted(
            name for name in names if name.startswith(needed) or (is_same_class and not name.startswith(may_route))
        )

    misshapen = sorted(name for name in own.keys() & there.keys() if tuple(there[name].shape) != own[name].shape)
    resized = [name for name in misshapen if not name.startswith(layers) and not sizes_may_differ]
    remedy = _undo(changed) if changed else _DAMAGED
    for problem, names, cure in (
        ("are missing", ours(own.keys() - there.keys() - tied), remedy),
        ("belong to no part of the model", ours(there.keys() - own.keys()), remedy),
        (
            "are of the wrong type",
            [_typed(name, own, there) for name in sorted(own) if _wrong_type(name, own, there)],
            _DAMAGED,
        ),
        (
            "have other sizes than its configuration asks for (dynamic_counts among others)",
            [_sized(name, own, there) for name in misshapen if name.startswith(layers)],
            remedy,
        ),
        (
            "have other sizes than its configuration asks for",
            [_sized(name, own, there) for name in resized],
            f"{remedy} {_RESIZED}",
        ),
    ):
        if names:
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            raise PADCheckpointError(
                f"{len(names)} tensors in {source!r} {problem}: {', '.join(names[:3])}{more}. {cure}"
            )


def _undo(changed: Mapping[str, tuple[Any, Any]]) -> str:
    options = (f"{name} is {asked!r}, but was {saved!r} when it was saved" for name, (saved, asked) in changed.items())
    return f"{'; '.join(options)}: load it without the change."


def _wrong_type(name: str, own: Mapping[str, Tensor], there: Mapping[str, TensorInfo]) -> bool:
    if name not in there:
        return False
    dtype = own[name].dtype
    return there[name].dtype not in (_FLOATS if dtype.is_floating_point else (_EXACT[dtype],))


def _typed(name: str, own: Mapping[str, Tensor], there: Mapping[str, TensorInfo]) -> str:
    return f"{name} ({there[name].dtype}, not {str(own[name].dtype).removeprefix('torch.')})"


def _sized(name: str, own: Mapping[str, Tensor], there: Mapping[str, TensorInfo]) -> str:
    return f"{name} ({tuple(there[name].shape)}, not {tuple(own[name].shape)})"
