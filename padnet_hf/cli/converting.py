"""From one checkpoint to another: upcycled, partitioned, dense. Targets are folders, written whole or not at all."""

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import transformers
from transformers import AutoConfig, PreTrainedModel

from padnet_hf.errors import PADNetError
from padnet_hf.hub.inspection import read_config
from padnet_hf.hub.model_card import auto_class_of
from padnet_hf.hub.publishing import write_report
from padnet_hf.hub.whole_files import filled_whole
from padnet_hf.jobs.loading import load_or_explain
from padnet_hf.models.auto import pad_class_for
from padnet_hf.models.pad_model import PADModelMixin
from padnet_hf.partition.config import PartitionConfig
from padnet_hf.partition.imp import partition
from padnet_hf.partition.report import PartitionReport
from padnet_hf.partition.scoring import Batch

logger = logging.getLogger(__name__)

_REMEDY = "give a folder with config.json and model.safetensors, or the name of such a repository on the Hub"


def check_target(target: Path, overwrite: bool) -> None:
    """Raise PADNetError if the folder to be written to holds something, unless it may be replaced."""
    if target.exists() and (not target.is_dir() or (any(target.iterdir()) and not overwrite)):
        raise PADNetError(f"{str(target)!r} is there already: give a new folder, or add --overwrite.")


def upcycle(source: str, target: Path, fields: dict[str, Any]) -> PADModelMixin:
    """A fully dynamic checkpoint out of a dense one; `fields` are of the configuration.

    With `num_labels` among them it is a classifier, with a new head unless the dense one has as many labels.
    """
    dense = load_or_explain(AutoConfig.from_pretrained, source, _REMEDY)
    pad_class = pad_class_for(dense, classifier="num_labels" in fields)
    if pad_class.dense_class.__name__ not in (dense.architectures or ()):
        logger.warning("%s becomes a %s: the rest of it is left out or new", dense.architectures, pad_class.__name__)
    model = load_or_explain(pad_class.from_dense, source, _REMEDY, **fields)
    _write(model, source, target, type(model.config).processing_class)
    return model


def load(source: str) -> PADModelMixin:
    """The PAD model in a folder or repository, of the class that it was saved as."""
    auto_class = getattr(transformers, auto_class_of(read_config(source)))
    return load_or_explain(auto_class.from_pretrained, source, _REMEDY)


def partition_into(
    model: PADModelMixin, source: str, target: Path, batches: Iterable[Batch] | None, config: PartitionConfig
) -> PartitionReport:
    """Partition a model loaded from `source`, and save it."""
    report = partition(model, batches, config)
    _write(model, source, target, type(model.config).processing_class, report)
    return report


def make_dense(source: str, target: Path) -> PreTrainedModel:
    """A stock transformers checkpoint out of a PAD one whose copies are equal."""
    model = load(source)
    dense = model.to_dense()
    _write(dense, source, target, type(model.config).processing_class)
    return dense


def _write(
    model: PreTrainedModel, source: str, target: Path, processing_class: str, report: PartitionReport | None = None
) -> None:
    with filled_whole(target) as folder:
        model.save_pretrained(folder)
        try:
            getattr(transformers, processing_class).from_pretrained(source).save_pretrained(folder)
        except (OSError, ValueError):
            logger.warning("%s has nothing for %s: the result has neither", source, processing_class)
        if report is not None:
            write_report(folder, report)
