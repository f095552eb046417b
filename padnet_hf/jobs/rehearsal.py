"""A Trainer that is ready to train: built, its start tried with a double of the model, and then partitioned."""

import copy
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint
from transformers import Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_callback import CallbackHandler, DefaultFlowCallback
from transformers.trainer_utils import has_length

from padnet_hf.errors import PADNetError
from padnet_hf.jobs.refusals import as_one_error
from padnet_hf.method.config import PartitionConfig
from padnet_hf.training.calibration import CalibrationBatches
from padnet_hf.training.callbacks import IMPCallback
from padnet_hf.transformers_seams import CHECKPOINTING

AnyTrainer = TypeVar("AnyTrainer", bound=Trainer)

REFUSED = "the Trainer refuses these options"
REMEDY = "correct or leave out the option that it names; --help lists all"


def ready(build: Callable[[], AnyTrainer], partition: PartitionConfig | None) -> AnyTrainer:
    """The Trainer that `build` gives, its model partitioned on its training data if there is a partition to make.

    Whatever the Trainer and its libraries refuse when it is built, or when it starts to train, is a PADNetError, raised
    before the partition.
    """
    with as_one_error(REFUSED, REMEDY):
        trainer = build()
    if trainer.args.do_train:
        rehearse(trainer)
    if partition is not None:
        training = trainer.args
        batches = CalibrationBatches(
            trainer.train_dataset,
            trainer.data_collator,
            batch_size=training.per_device_train_batch_size,
            num_batches=partition.num_batches,
            seed=partition.seed,
        )
        callback = IMPCallback(batches, partition)
        trainer.add_callback(callback)
        callback.apply_to(trainer.model, training)
    return trainer


class _ReadyError(Exception):
    """All is made, the first step would come next."""


class _Stop(TrainerCallback):
    def on_train_begin(self, args: Any, state: Any, control: Any, train_dataloader: Any = None, **kwargs: Any) -> None:
        if has_length(train_dataloader) and len(train_dataloader) == 0:
            raise PADNetError(
                "--dataloader_drop_last leaves no batch: there are fewer training examples than "
                f"--per_device_train_batch_size {args.per_device_train_batch_size} in all; leave it out, or "
                "choose smaller batches"
            )
        raise _ReadyError


def rehearse(trainer: Trainer) -> None:
    """Start a training with a double of the model, up to its first step; Trainer and random numbers stay as they are.

    The double has the model's own values, so that no memory is taken for them: before the first step nothing writes.

    Raises PADNetError for what is refused: a sampler, an optimizer, a schedule, a way to wrap or to compile the model.
    """
    double = copy.copy(trainer)
    double.model = double.model_wrapped = _double_of(trainer.model)
    callbacks = [DefaultFlowCallback(), _Stop()]
    double.callback_handler = CallbackHandler(callbacks, double.model, double.processing_class, None, None)
    double._memory_tracker = copy.copy(trainer._memory_tracker)
    with as_one_error(REFUSED, REMEDY), torch.random.fork_rng(devices=[]):
        with suppress(_ReadyError):
            double.train()
        _try_checkpointing(trainer.args)
    trainer.accelerator.free_memory()


def _double_of(model: nn.Module) -> nn.Module:
    """A copy with parameters and buffers of its own in the same memory: replaced, wrapped or moved in it alone."""
    memo: dict[int, Any] = {id(buffer): buffer.detach() for buffer in model.buffers()}
    for parameter in model.parameters():
        memo[id(parameter)] = nn.Parameter(parameter.detach(), requires_grad=parameter.requires_grad)
    return copy.deepcopy(model, memo)  # takes these for copies that are made already


def _try_checkpointing(args: TrainingArguments) -> None:
    """The Trainer does not look at these options before the first step."""
    if getattr(args, CHECKPOINTING):
        own = {"every_n_layers", "offload"}
        options = {
            name: value for name, value in (getattr(args, f"{CHECKPOINTING}_kwargs") or {}).items() if name not in own
        }
        checkpoint(torch.abs, torch.ones(1, requires_grad=True), **{"use_reentrant": False} | options)
