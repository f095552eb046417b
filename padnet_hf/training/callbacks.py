"""Trainer callbacks: thin, everything they do is callable without a Trainer."""

from collections.abc import Iterable
from typing import Any

from torch import nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from padnet_hf.errors import PADNetError
from padnet_hf.layers.kernel_attention import KernelAttention, check_temperature, set_temperature
from padnet_hf.method.config import PartitionConfig
from padnet_hf.method.imp import partition
from padnet_hf.method.report import PartitionReport
from padnet_hf.method.scoring import Batch
from padnet_hf.training.cache_use import using_cache
from padnet_hf.training.calibration import CalibrationBatches
from padnet_hf.training.records import check_loaded, check_same_config, is_partitioned


class IMPCallback(TrainerCallback):
    """Partitions the Trainer's model as soon as the Trainer is built: before optimizer, wrapping and step 0.

    A model that is partitioned already in the way asked for, for instance one loaded from a checkpoint to go on, is
    left alone. With `model_init` every model that PADTrainer builds is partitioned; the stock Trainer does not say when
    it builds one, so there `model_init` itself has to call `partition`.

    Args:
        batches: calibration batches, for instance `CalibrationBatches(dataset, collator)`; see `partition`. Of those,
            columns that the model does not take are dropped if the Trainer drops them (`remove_unused_columns`).
        config: how to choose; `PartitionConfig.for_model` of the Trainer's model if not given.

    Attributes:
        report: what `partition` returned last; None if it had nothing to do.

    Raises PADNetError while the Trainer is built if the model is partitioned already in another way, or cannot be.
    """

    def __init__(self, batches: Iterable[Batch], config: PartitionConfig | None = None) -> None:
        self.batches = batches
        self.config = config
        self.report: PartitionReport | None = None

    def apply_to(self, model: nn.Module, args: TrainingArguments) -> None:
        """Partition the model, unless it is so already."""
        config = self._config_for(model)
        if is_partitioned(model):
            check_same_config(model, config)
            return
        batches = self.batches
        if isinstance(batches, CalibrationBatches) and args.remove_unused_columns:
            batches = batches.for_model(model, args.label_names)
        progress = args.process_index == 0 and not args.disable_tqdm
        with using_cache(model, args.use_cache):
            self.report = partition(model, batches, config, progress=progress)

    def _config_for(self, model: nn.Module) -> PartitionConfig:
        return self.config or PartitionConfig.for_model(model)

    def on_init_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: nn.Module | None = None,
        **kwargs: Any,
    ) -> None:
        """Partition now: parameters replaced later would be unknown to the optimizer."""
        self.apply_to(model, args)

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: nn.Module | None = None,
        **kwargs: Any,
    ) -> None:
        """Make sure that the model to be trained is the one that was partitioned, and still is so after loading."""
        if not is_partitioned(model) and self._config_for(model).dynamic_ratio != 1:
            raise PADNetError(
                "the model about to be trained is not the one that was partitioned: with model_init the stock Trainer "
                "builds a new one at train(). Use padnet_hf.PADTrainer, which partitions that one too, or call "
                "partition(model, batches, config) inside model_init, or pass the model itself (Trainer(model=...))."
            )
        if self.report is not None and not args.fsdp:
            check_loaded(model, self.report)


class TemperatureCallback(TrainerCallback):
    """Lowers the temperature of kernel attention step by step, in a straight line, over the first epochs.

    Upstream goes from about 31 to 1. A high temperature keeps the weights of the kernels equal, so that all of them
    learn. A PAD model saves its temperature, in any other module it stays with the layers; a resumed run goes on from
    its step, so nothing else is to be kept.

    Args:
        initial, final: temperatures at the first step and after `epochs`, above 0.
        epochs: how long it falls, in epochs, above 0; None for 10 (upstream), or half of the run if that is shorter.

    Raises PADNetError for a value out of range, and at the start of training for a model without temperature.
    """

    def __init__(self, initial: float = 31.0, final: float = 1.0, epochs: float | None = None) -> None:
        self.initial, self.final = check_temperature(initial), check_temperature(final)
        if epochs is not None and not epochs > 0:
            raise PADNetError(f"epochs is {epochs!r}, but must be above 0; None stands for 10 or half of the run.")
        self.epochs = epochs

    def temperature_at(self, epoch: float, num_epochs: float) -> float:
        """The temperature after `epoch` epochs of a run of `num_epochs`."""
        length = min(10, num_epochs / 2) if self.epochs is None else self.epochs
        done = min(epoch / length, 1)
        return self.initial + done * (self.final - self.initial)

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: nn.Module | None = None,
        **kwargs: Any,
    ) -> None:
        """Refuse a model that has no temperature."""
        has_attention = any(isinstance(module, KernelAttention) for module in model.modules())
        if not has_attention and not hasattr(model, "set_temperature"):
            raise PADNetError(
                f"{type(model).__name__} has no temperature to lower: TemperatureCallback is for models with dynamic "
                "convolutions (PADResNet..., PADMobileNetV2..., PADDynamicConv2d); leave it out."
            )

    def on_step_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: nn.Module | None = None,
        **kwargs: Any,
    ) -> None:
        """Set the temperature of this step."""
        num_epochs = state.num_train_epochs if args.max_steps > 0 else args.num_train_epochs
        temperature = self.temperature_at(state.epoch or 0, num_epochs)
        if hasattr(model, "set_temperature"):  # where it is saved with the model too
            model.set_temperature(temperature)
        else:
            set_temperature(model, temperature)

    on_train_end = on_step_begin  # leaves the model with the temperature that the last step ends with
