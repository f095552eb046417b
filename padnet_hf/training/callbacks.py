"""Trainer callbacks: thin, everything they do is callable without a Trainer."""

from collections.abc import Iterable
from typing import Any

from transformers import PreTrainedModel, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from padnet_hf.errors import PADNetError
from padnet_hf.partition.config import PartitionConfig
from padnet_hf.partition.imp import partition
from padnet_hf.partition.report import PartitionReport
from padnet_hf.partition.scoring import Batch


class IMPCallback(TrainerCallback):
    """Partitions the Trainer's model as soon as the Trainer is built: before optimizer, wrapping and step 0.

    A model that is partitioned already, for instance one loaded from a checkpoint to go on, is left alone.

    Args:
        batches: calibration batches, for instance `CalibrationBatches(dataset, collator)`; see `partition`.
        config: how to choose.

    Attributes:
        report: what `partition` returned; None if it had nothing to do.
    """

    def __init__(self, batches: Iterable[Batch], config: PartitionConfig | None = None) -> None:
        self.batches = batches
        self.config = config or PartitionConfig()
        self.report: PartitionReport | None = None

    def on_init_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: PreTrainedModel | None = None,
        **kwargs: Any,
    ) -> None:
        """Partition now: parameters replaced later would be unknown to the optimizer."""
        if not getattr(model, "is_partitioned", False):
            self.report = partition(model, self.batches, self.config, progress=not args.disable_tqdm)

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: PreTrainedModel | None = None,
        **kwargs: Any,
    ) -> None:
        """Make sure that the model to be trained is the one that was partitioned."""
        if not getattr(model, "is_partitioned", False):
            raise PADNetError(
                "the model about to be trained is not the one that was partitioned: with model_init the Trainer builds "
                "a new one at train(). Pass the model itself (Trainer(model=...)), one Trainer for every trial."
            )
