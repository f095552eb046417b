"""The stock Trainer with our model card, checkpoints that are whole or not taken for such, and runs that make sense."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import EvalResult, ModelCardData
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Sampler, SequentialSampler
from transformers import PreTrainedModel, Trainer
from transformers.modelcard import TrainingSummary, make_markdown_table
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, EvalLoopOutput, TrainOutput, has_length

from padnet_hf.errors import PADNetError
from padnet_hf.hub.model_card import CARD
from padnet_hf.hub.publishing import describe
from padnet_hf.hub.whole_files import filled_whole, write_text
from padnet_hf.training.cache_use import CacheUseMixin
from padnet_hf.training.callbacks import IMPCallback
from padnet_hf.training.records import take_partition
from padnet_hf.training.soundness import Losses, check_outputs, not_finite, restored
from padnet_hf.training.step_loss import StepLossMixin

_DATA = "## Training and evaluation data\n\n"
"""The heading in transformers' card."""


class PADTrainer(StepLossMixin, CacheUseMixin, Trainer):
    """transformers' Trainer, whose `create_model_card`, and with it `push_to_hub`, writes the card of a PAD model.

    Beyond that, for models of all kinds:

    - Losses are right under accumulation and label smoothing, see `StepLossMixin`.
    - A model is saved, and left, with the `use_cache` that it came with, see `CacheUseMixin`.
    - A checkpoint that has its trainer_state.json is whole, also with several processes, and a run resumed at its end
      trains no further. The model takes the partition of the checkpoint that it goes on from.
    - With `model_init` every model that is built is partitioned if there is an IMPCallback: `hyperparameter_search`.
    - Evaluation leaves nothing out and keeps the order, whatever is said of training batches (`dataloader_drop_last`,
      `train_sampling_strategy`), and leaves weights in the precision that they were trained in (`bf16_full_eval`).
    - A training that diverged ends in a PADNetError before a checkpoint or the model is saved over a sound one, and so
      does an evaluation in which the model gives NaN.

    Everything else is the stock Trainer's, which works with PAD models too; its card lacks sizes and partition.

    Attributes:
        card_results: results for the card beside those that the Trainer has logged.
        card_data: Markdown for the card about the data.
    """

    card_results: Sequence[EvalResult] = ()
    card_data: str = ""
    _losses: Losses

    # The model

    def call_model_init(self, trial: Any = None) -> nn.Module:
        """A new model for a trial, partitioned as the first one was."""
        model = super().call_model_init(trial)
        handler = getattr(self, "callback_handler", None)  # None while the Trainer is built: on_init_end comes later
        for callback in handler.callbacks if handler else ():
            if isinstance(callback, IMPCallback):
                if self.place_model_on_device:
                    self._move_model_to_device(model, self.args.device)
                callback.apply_to(model, self.args)
        return model

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        """Load the weights, into a model of the form that they have."""
        own = self.model if model is None else self.accelerator.unwrap_model(model)
        if take_partition(own, resume_from_checkpoint) and (self.optimizer is not None or self.is_fsdp_enabled):
            raise PADNetError(
                f"checkpoint {resume_from_checkpoint!r} has another partition than the model, whose parameters are in "
                "use by an optimizer already: load the model from the checkpoint, and build a new Trainer with it."
            )
        wrapped = () if model is None else (model,)  # which sentence-transformers' Trainer does not take
        try:
            super()._load_from_checkpoint(resume_from_checkpoint, *wrapped)
        except RuntimeError as error:
            raise PADNetError(
                f"checkpoint {resume_from_checkpoint!r} does not fit this {type(own).__name__}: "
                f"{' '.join(str(error).split())[:300]}; load the model from the checkpoint, and resume that."
            ) from error

    # Evaluation

    def get_eval_dataloader(self, eval_dataset: str | Dataset | None = None) -> DataLoader:
        """All batches, the last one too."""
        with self._dropping_nothing():
            return super().get_eval_dataloader(eval_dataset)

    def get_test_dataloader(self, test_dataset: Dataset) -> DataLoader:
        """All batches, the last one too."""
        with self._dropping_nothing():
            return super().get_test_dataloader(test_dataset)

    @contextmanager
    def _dropping_nothing(self) -> Iterator[None]:
        drop_last = self.args.dataloader_drop_last
        try:
            self.args.dataloader_drop_last = False
            yield
        finally:
            self.args.dataloader_drop_last = drop_last

    def _get_eval_sampler(self, eval_dataset: Dataset) -> Sampler | None:
        """In order, not by length as training may be: predictions are numbered like the data."""
        in_order = has_length(eval_dataset) and self.args.world_size == 1
        return SequentialSampler(eval_dataset) if in_order else None

    def evaluation_loop(
        self,
        dataloader: DataLoader,
        description: str,
        prediction_loss_only: bool | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> EvalLoopOutput:
        """The stock loop; weights that it casts are put back. Raises PADNetError if no loss is finite."""
        with restored(self.model) if self._casts_weights() else nullcontext():
            output = super().evaluation_loop(
                dataloader, description, prediction_loss_only, ignore_keys, metric_key_prefix
            )
        loss = output.metrics.get(f"{metric_key_prefix}_loss", 0.0)
        if not math.isfinite(loss):
            raise PADNetError(
                f"the loss in evaluation is {loss}: the training diverged, or labels are no numbers. Take an earlier "
                "checkpoint, or train anew with a lower learning_rate (and max_grad_norm 1)."
            )
        return output

    def prediction_step(
        self, model: nn.Module, inputs: dict[str, Any], *args: Any, **kwargs: Any
    ) -> tuple[Any, Any, Any]:
        """A stock step, on inputs of the model's precision. Raises PADNetError if the model gives NaN."""
        if self._casts_weights():
            dtype = torch.bfloat16 if self.args.bf16_full_eval else torch.float16
            inputs = {
                name: value.to(dtype) if _is_float(value) and name not in self.label_names else value
                for name, value in inputs.items()
            }
        loss, logits, labels = super().prediction_step(model, inputs, *args, **kwargs)
        check_outputs(logits, ", or evaluate without --fp16_full_eval" if self.args.fp16_full_eval else "")
        return loss, logits, labels

    def _casts_weights(self) -> bool:
        """Whether the stock evaluation casts the model, as it does when no training is under way."""
        return (self.args.bf16_full_eval or self.args.fp16_full_eval) and not self.is_in_train

    # Training

    def training_step(self, *args: Any, **kwargs: Any) -> Tensor:
        """A stock step, whose loss is counted."""
        loss = super().training_step(*args, **kwargs)
        self._losses.add(loss)
        return loss

    def _maybe_log_save_evaluate(self, *args: Any, **kwargs: Any) -> None:
        """Look whether training still makes sense before anything is said of it, or saved."""
        if self.control.should_log or self.control.should_save or self.control.should_evaluate:
            self._check_sound()
        super()._maybe_log_save_evaluate(*args, **kwargs)

    def _finalize_training(self, *args: Any, **kwargs: Any) -> TrainOutput:
        self._check_sound()
        return super()._finalize_training(*args, **kwargs)

    def _check_sound(self) -> None:
        """Raise PADNetError in all processes if training has diverged."""
        found = not_finite(self.model.parameters()).to(self.args.device)
        unsound = int(self.accelerator.reduce(found, "sum"))
        if self._losses.none_was_finite() or unsound:
            what = "parameters are not finite" if unsound else "no loss since the last look was finite"
            raise PADNetError(
                f"training diverged before step {self.state.global_step}: {what}. Checkpoints that were saved before "
                f"are whole. Train anew with a lower learning_rate (it is {self.args.learning_rate:g}), and "
                f"max_grad_norm 1 (it is {self.args.max_grad_norm:g})."
            )

    # Checkpoints

    def _init_training_state(
        self, max_steps: int, num_update_steps_per_epoch: int, num_train_epochs: int, *args: Any, **kwargs: Any
    ) -> tuple[int, int]:
        """Epochs and batches done. After the last step all epochs are: transformers 5.23 would train one step more."""
        self._losses = Losses()
        epochs, batches = super()._init_training_state(
            max_steps, num_update_steps_per_epoch, num_train_epochs, *args, **kwargs
        )
        return (num_train_epochs, 0) if self.state.global_step >= max_steps else (epochs, batches)

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        """Save; what is saved again, because an earlier checkpoint was resumed, is not whole meanwhile."""
        if self.args.should_save:
            folder = Path(self._get_output_dir(trial), f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}")
            (folder / TRAINER_STATE_NAME).unlink(missing_ok=True)
        super()._save_checkpoint(model, trial)

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        """Save; an adapter's files appear when all are written, as those of PAD models do by themselves."""
        if isinstance(self.model, PreTrainedModel) or not self.args.should_save:
            super()._save(output_dir, state_dict)
            return
        with filled_whole(Path(output_dir or self.args.output_dir)) as folder:
            super()._save(str(folder), state_dict)

    def _save_rng_state(self, output_dir: str) -> None:
        """Every process saves its own, the first one the trainer's state after it, which says that all is there."""
        super()._save_rng_state(output_dir)
        self.accelerator.wait_for_everyone()

    # The card

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """Write README.md, partition_report.json and partition.png to the output folder.

        The arguments are transformers'. A card that is there already keeps the text that is not ours.
        """
        model = self.accelerator.unwrap_model(self.model)
        if not isinstance(model, PreTrainedModel) or not hasattr(model, "partition_report"):  # PEFT's hand on all names
            super().create_model_card(*args, **kwargs)
            if self.is_world_process_zero():
                self._say_data(Path(self.args.output_dir, CARD))
            return
        if not self.is_world_process_zero():
            return
        path = Path(self.args.output_dir, CARD)
        # as saving does, which need not have happened
        model.config.architectures = [type(model).__name__.removeprefix("FSDP")]
        summary = TrainingSummary.from_trainer(self, *args, **kwargs)
        metadata = ModelCardData(**summary.create_metadata())
        metadata.eval_results = [*(metadata.eval_results or ()), *self.card_results]
        describe(
            path.parent,
            model.config,
            model.partition_report(),
            repository=self.hub_model_id or path.parent.name,
            existing=path.read_text(encoding="utf-8") if path.exists() else None,
            metadata=metadata,
            training="\n\n".join(part for part in (self.card_data, _training(summary)) if part),
        )

    def _say_data(self, card: Path) -> None:
        """Say in transformers' own card where it says that it knows nothing of the data."""
        text = card.read_text(encoding="utf-8")
        known = text.replace(f"{_DATA}More information needed", f"{_DATA}{self.card_data}")
        if self.card_data and known != text:
            write_text(card, known)


def _is_float(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point()


def _training(summary: TrainingSummary) -> str:
    """Markdown: the settings as a list, and what was measured on the way as a table."""
    settings = [f"- {name}: {value}" for name, value in (summary.hyperparameters or {}).items()]
    return "\n".join([*settings, "", make_markdown_table(summary.eval_lines)]).strip()
