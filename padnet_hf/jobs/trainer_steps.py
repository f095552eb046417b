"""Steps around a Trainer that leave files: start a run, train, keep metrics."""

import logging
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, Trainer, TrainerCallback
from transformers.trainer_utils import TrainOutput, has_length

from padnet_hf.adapters.sparse import trained_parameters
from padnet_hf.hub.publishing import write_report
from padnet_hf.jobs.columns import Columns
from padnet_hf.jobs.output_folder import remove_earlier_run, write_run_config
from padnet_hf.jobs.refusals import as_one_error
from padnet_hf.jobs.rehearsal import REFUSED, REMEDY
from padnet_hf.version import __version__

logger = logging.getLogger(__name__)

_CACHE_LINE = 64
"""Bytes: the multiples at which torch begins what it allocates."""


def start_run(trainer: Trainer, options: Mapping[str, Any], *, resuming: bool, columns: Columns | None = None) -> None:
    """Make the output folder ours: what was asked for, columns read, and report and picture of the partition."""
    trainer.accelerator.wait_for_everyone()  # no process may find this one's files in a folder that it has yet to check
    if trainer.is_world_process_zero():
        folder = str(trainer.args.output_dir)
        if not resuming:
            remove_earlier_run(folder, options.get("model_name_or_path"))
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
    """Train, and leave model, processing class and state in the output folder.

    What is refused before the first step, a checkpoint that does not suit for instance, is a PADNetError.
    """
    align(trainer.model)
    metrics = _trained(trainer, checkpoint).metrics
    if has_length(trainer.train_dataset):
        metrics["train_samples"] = len(trainer.train_dataset)
    metrics["train_parameters"] = trained_parameters(trainer.model)
    trainer.save_model()
    trainer.save_state()
    return record(trainer, "train", metrics)


class _Begun(TrainerCallback):
    """Ends these contexts when the first step comes next; the last of the Trainer's callbacks to be asked."""

    def __init__(self, contexts: ExitStack) -> None:
        self.contexts = contexts

    def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
        self.contexts.pop_all()


def _trained(trainer: Trainer, checkpoint: str | None) -> TrainOutput:
    with ExitStack() as until_begun:
        until_begun.enter_context(as_one_error(REFUSED, REMEDY))
        trainer.add_callback(begun := _Begun(until_begun))
        output = trainer.train(resume_from_checkpoint=checkpoint)
        trainer.remove_callback(begun)
    return output


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
