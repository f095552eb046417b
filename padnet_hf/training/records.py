"""What is recorded of a model's partition, held against what is asked for and against a checkpoint's."""

import json
import logging
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from torch import nn
from transformers import PreTrainedModel
from transformers.utils import CONFIG_NAME

from padnet_hf.errors import PADCheckpointError, PADNetError
from padnet_hf.method.config import PartitionConfig
from padnet_hf.method.layer import pad_weights

logger = logging.getLogger(__name__)


def is_partitioned(model: nn.Module) -> bool:
    """Whether the model says so or, if it does not know, any of its weights has a static part."""
    known = getattr(model, "is_partitioned", None)
    return any(not weight.is_fully_dynamic for weight in pad_weights(model).values()) if known is None else known


def check_same_config(model: nn.Module, asked: PartitionConfig) -> None:
    """Raise PADNetError if the model was partitioned in another way than asked for.

    Of a model that keeps no record nothing is known, which the log says.
    """
    record = _record(model)
    if record is None:
        logger.warning("%s is partitioned already, it does not know how: it stays as it is", type(model).__name__)
        return
    if differing := _differing(record, asked.to_dict()):
        raise PADNetError(
            f"this {type(model).__name__} is partitioned already with {differing[0]}, but asked for is {differing[1]}: "
            "leave IMPCallback out to train it as it is, give it the PartitionConfig that the model has, or start from "
            "the fully dynamic model."
        )


def take_partition(model: nn.Module, checkpoint: str | PathLike[str]) -> bool:
    """Give the model the form of a checkpoint whose weights are to be loaded; whether its parameters are new.

    Masks that came of other calibration data are replaced. Nothing is done for models, and for checkpoints, that keep
    no record of a partition. Raises PADNetError if both were partitioned in different ways, or the model alone was.
    """
    if not isinstance(model, PreTrainedModel) or not hasattr(model.config, "dynamic_counts"):
        return False
    saved = _configuration(Path(checkpoint, CONFIG_NAME))
    if saved.get("model_type") != model.config.model_type:
        return False
    counts, theirs, ours = saved.get("dynamic_counts"), saved.get("partition"), model.config.partition
    if theirs is None and ours is None:
        return False
    if theirs is None:
        raise PADNetError(
            f"checkpoint {str(checkpoint)!r} is fully dynamic, but the model is partitioned ({_described(ours)}): "
            "leave out IMPCallback or --use_pad to resume it, or start anew from its model."
        )
    if ours is not None and (differing := _differing(theirs, ours)):
        raise PADNetError(
            f"checkpoint {str(checkpoint)!r} was partitioned with {differing[0]}, but the model with {differing[1]}: "
            "resume with the configuration of the first run, or train anew into another folder."
        )
    if ours is not None and (counts, theirs.get("mask_hash")) == (model.config.dynamic_counts, ours.get("mask_hash")):
        return False
    _take_form(model, counts, theirs, str(checkpoint))
    if ours is not None:
        logger.warning(
            "%s: masks of other calibration data are replaced by those of the checkpoint", type(model).__name__
        )
    return True


def check_masks(model: nn.Module) -> None:
    """Raise PADNetError if the masks are not those that the model recorded: weights of another one were loaded."""
    if not isinstance(model, PreTrainedModel) or not hasattr(model, "check_masks"):
        return
    try:
        model.check_masks()
    except PADCheckpointError as error:
        raise PADNetError(
            "the checkpoint that training goes on from has other masks than the model was partitioned with "
            f"({_described(_record(model) or {})}): load the model from the checkpoint (from_pretrained), which knows "
            f"them, or use padnet_hf.PADTrainer, which takes them over; {error}"
        ) from error


def _record(model: nn.Module) -> dict[str, Any] | None:
    return getattr(getattr(model, "config", None), "partition", None)


def _differing(record: Mapping[str, Any], other: Mapping[str, Any]) -> tuple[str, str] | None:
    """The fields of PartitionConfig that both have, with other values, once for each; None if there are none."""
    names = [name for name in PartitionConfig().to_dict() if name in record and name in other]
    differing = [name for name in names if record[name] != other[name]]
    if not differing:
        return None
    one, two = (", ".join(f"{name} {values[name]!r}" for name in differing) for values in (record, other))
    return one, two


def _described(record: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {record.get(name)!r}" for name in ("dynamic_ratio", "granularity", "criterion"))


def _configuration(path: Path) -> dict[str, Any]:
    try:
        saved = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except ValueError as error:
        raise PADNetError(f"{path} cannot be read: {error}; resume from an earlier checkpoint.") from error
    return saved if isinstance(saved, dict) else {}


def _take_form(model: PreTrainedModel, counts: Any, record: dict[str, Any], checkpoint: str) -> None:
    """Give every PADWeight the form that the count says, its values still to be loaded."""
    weights = pad_weights(model.base_model)
    if not isinstance(counts, dict) or set(counts) != set(weights):
        raise PADNetError(
            f"checkpoint {checkpoint!r} has counts for other layers than this {type(model).__name__} has: load the "
            "model from the checkpoint with from_pretrained, and resume that."
        )
    for name, weight in weights.items():
        weight.make_room(counts[name], record["granularity"])
    model.config.dynamic_counts, model.config.partition = counts, record
