"""The stock Trainer with our model card, and checkpoints that are whole or not taken for such."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCardData
from torch import nn
from transformers import PreTrainedModel, Trainer
from transformers.modelcard import TrainingSummary, make_markdown_table
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from padnet_hf.hub.model_card import CARD
from padnet_hf.hub.publishing import describe
from padnet_hf.hub.whole_files import filled_whole, write_text
from padnet_hf.training.step_loss import StepLossMixin

_DATA = "## Training and evaluation data\n\n"
"""The heading in transformers' card."""


class PADTrainer(StepLossMixin, Trainer):
    """transformers' Trainer, whose `create_model_card`, and with it `push_to_hub`, writes the card of a PAD model.

    Its losses are right for models of all kinds, see `StepLossMixin`. A checkpoint that has its trainer_state.json is
    whole, also with several processes, and a run resumed at its end trains no further. Everything else is the stock
    Trainer's, which works with PAD models too; its card lacks sizes and partition. For models of other kinds nothing
    else changes.

    Attributes:
        card_results: results for the card beside those that the Trainer has logged.
        card_data: Markdown for the card about the data.
    """

    card_results: Sequence[EvalResult] = ()
    card_data: str = ""

    def _init_training_state(
        self, max_steps: int, num_update_steps_per_epoch: int, num_train_epochs: int, *args: Any, **kwargs: Any
    ) -> tuple[int, int]:
        """Epochs and batches done. After the last step all epochs are: transformers 5.23 would train one step more."""
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


def _training(summary: TrainingSummary) -> str:
    """Markdown: the settings as a list, and what was measured on the way as a table."""
    settings = [f"- {name}: {value}" for name, value in (summary.hyperparameters or {}).items()]
    return "\n".join([*settings, "", make_markdown_table(summary.eval_lines)]).strip()
