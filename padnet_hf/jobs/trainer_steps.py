"""Steps around a Trainer that leave files: start a run, train, keep metrics."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset
from transformers import DataCollator, PreTrainedModel, Trainer, TrainerCallback, TrainingArguments

from padnet_hf.adapters.sparse import trained_parameters
from padnet_hf.hub.publishing import write_report
from padnet_hf.jobs.columns import Columns
from padnet_hf.jobs.output_folder import remove_earlier_run, write_run_config
from padnet_hf.method.config import PartitionConfig
from padnet_hf.training.calibration import CalibrationBatches
from padnet_hf.training.callbacks import IMPCallback
from padnet_hf.version import __version__

logger = logging.getLogger(__name__)

_CACHE_LINE = 64
"""Bytes: the multiples at which torch begins what it allocates."""


def partition_callbacks(
    partition: PartitionConfig | None, dataset: Dataset | None, collator: DataCollator, training: TrainingArguments
) -> list[TrainerCallback]:
    """The callback that partitions the model while the Trainer is built, if there is a partition to make."""
    if partition is None:
        return []
    batches = CalibrationBatches(
        dataset,
        collator,
        batch_size=training.per_device_train_batch_size,
        num_batches=partition.num_batches,
        seed=partition.seed,
    )
    return [IMPCallback(batches, partition)]


def start_run(trainer: Trainer, options: Mapping[str, Any], *, resuming: bool, columns: Columns | None = None) -> None:
    """Make the output folder ours: what was asked for, columns read, and report and picture of the partition."""
    trainer.accelerator.wait_for_everyone()  # no process may find this one's files in a folder that it has yet to check
    if trainer.is_world_process_zero():
        folder = str(trainer.args.output_dir)
        if not resuming:
            remove_earlier_run(folder)
        write_run_config(folder, options, __version__, columns.to_dict() if columns else None)
        report_partition(trainer.model, folder)
    trainer.accelerator.wait_for_everyone()


def report_partition(model: PreTrainedModel, folder: str) -> None:
    """Write partition_report.json, and partition.png where something is static; a plain model has neither."""
    if not hasattr(model, "partition_report"):
        return
    report = model.partition_report()
    if report.layers:
        logger.info("%s", report)
        write_report(Path(folder), report)


def train(trainer: Trainer, checkpoint: str | None) -> dict[str, float]:
    """Train, and leave model, processing class and state in the output folder."""
    align(trainer.model)
    metrics = trainer.train(resume_from_checkpoint=checkpoint).metrics
    metrics |= {"train_samples": len(trainer.train_dataset), "train_parameters": trained_parameters(trainer.model)}
    trainer.save_model()
    trainer.save_state()
    return record(trainer, "train", metrics)


@torch.no_grad()
def align(model: PreTrainedModel) -> None:
    """Move parameters that begin within a file, as loaded ones do, to memory of their own, as new ones have.

    A sum depends in its last bit on where in memory its first number stands: only so does training that goes on from a
    checkpoint equal training that was not interrupted, bit for bit.
    """
    for parameter in model.parameters():
        if parameter.device.type == "cpu" and parameter.data_ptr() % _CACHE_LINE:
            parameter.data = parameter.data.clone()


def record(trainer: Trainer, role: str, metrics: dict[str, float]) -> dict[str, float]:
    """Log and save the metrics, also into all_results.json."""
    trainer.log_metrics(role, metrics)
    trainer.save_metrics(role, metrics)
    return metrics
