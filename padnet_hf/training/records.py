"""What is recorded of a model's partition, held against what is asked for and against a checkpoint's."""

import json
import logging
import math
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from torch import nn
from transformers.utils import CONFIG_NAME

from padnet_hf.errors import PADNetError
from padnet_hf.method.config import PartitionConfig
from padnet_hf.method.layer import pad_weights
from padnet_hf.method.report import PartitionReport

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
    """Give the model the record of a checkpoint whose weights, and their form with them, are loaded next.

    Returns whether the model's parameters will be new ones. Nothing is done for models, and for checkpoints, that keep
    no record. Raises PADNetError if both were partitioned in different ways, or the model alone was.
    """
    config = getattr(model, "config", None)
    saved = _configuration(Path(checkpoint, CONFIG_NAME))
    if not hasattr(config, "dynamic_counts") or saved.get("model_type") != config.model_type:
        return False
    counts, theirs, ours = saved.get("dynamic_counts"), saved.get("partition"), config.partition
    if theirs is None and ours is not None:
        raise PADNetError(
            f"checkpoint {str(checkpoint)!r} is fully dynamic, but the model is partitioned ({_described(ours)}): "
            "leave out IMPCallback or --use_pad to resume it, or start anew from its model."
        )
    if theirs is None:
        return False
    if ours is not None and (differing := _differing(theirs, ours)):
        raise PADNetError(
            f"checkpoint {str(checkpoint)!r} was partitioned with {differing[0]}, but the model with {differing[1]}: "
            "resume with the configuration of the first run, or train anew into another folder."
        )
    if ours is not None and theirs.get("mask_hash") != ours.get("mask_hash"):
        logger.warning("masks of other calibration data are replaced by those of %s", checkpoint)
    is_new, config.dynamic_counts, config.partition = counts != config.dynamic_counts, counts, theirs
    return is_new


def check_loaded(model: nn.Module, made: PartitionReport) -> None:
    """Raise PADNetError if the model is no longer partitioned as it was: weights of another partition were loaded."""
    weights = pad_weights(model).values()
    found = sum(weight.num_dynamic_elements for weight in weights) / sum(weight.shape.numel() for weight in weights)
    parts = [weight for weight in weights if not (weight.is_fully_dynamic or weight.is_static)]
    granularity, masks = (parts[0].granularity, parts[0].masks) if parts else (None, None)
    asked, whose = (made.record or {}).get("granularity"), (made.record or {}).get("masks", "shared")
    # Units are of different sizes, so that other ones are another share of the elements.
    is_near = math.isclose(found, made.dynamic_ratio, abs_tol=1e-3 if asked == "element" else 0.02)
    if not is_near or granularity not in (None, asked) or masks not in (None, whose):
        raise PADNetError(
            f"the checkpoint that training goes on from is {found:.3f} dynamic (granularity {granularity!r}, masks "
            f"{masks!r}), but asked for is {made.dynamic_ratio:.3f} ({asked!r}, {whose!r}): resume with the "
            "PartitionConfig of the first run, or leave IMPCallback out, and load the model from the checkpoint."
        )


def _record(model: nn.Module) -> dict[str, Any] | None:
    return getattr(getattr(model, "config", None), "partition", None)


def _differing(record: Mapping[str, Any], other: Mapping[str, Any]) -> tuple[str, str] | None:
    """The fields of PartitionConfig that both decide, with other values, once for each; None if there are none."""
    record, other = ({"masks": "shared"} | dict(one) for one in (record, other))  # older ones do not say so
    decided = (n for n in PartitionConfig().to_dict() if record.get(n) is not None and other.get(n) is not None)
    differing = [name for name in decided if record[name] != other[name]]
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
