"""An adapter on top of a Trainer's model, which stays as it is, in a folder of its own."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, Trainer

from padnet_hf.adapters.extra import import_peft
from padnet_hf.adapters.lora import lora_config
from padnet_hf.adapters.sparse import restore_masks, sparsify_adapter
from padnet_hf.hub.whole_files import filled_whole
from padnet_hf.method.layer import pad_weights
from padnet_hf.method.trial import copies_are_equal
from padnet_hf.training.calibration import CalibrationBatches

logger = logging.getLogger(__name__)

ADAPTER_CONFIG = "adapter_config.json"
BASE = "base"
_NUM_BATCHES = 8


def is_adapter(folder: str) -> bool:
    """Whether the folder holds an adapter, and its base lies elsewhere."""
    return Path(folder, ADAPTER_CONFIG).is_file()


def base_of(source: str) -> str:
    """Where the model lies that the adapter in this folder is for; the folder itself if it holds no adapter."""
    return import_peft().PeftConfig.from_pretrained(source).base_model_name_or_path if is_adapter(source) else source


def make_config(model: PreTrainedModel, options: Mapping[str, Any]) -> Any:
    """The LoraConfig for these options, as `adapter_options` gives them. Raises PADNetError if they do not suit."""
    rank, alpha, targets = (options[f"lora_{name}"] for name in ("rank", "alpha", "targets"))
    return lora_config(model, rank=rank, alpha=alpha, targets=targets)


def adapt(trainer: Trainer, options: Mapping[str, Any], checkpoint: str | None, source: str | None) -> None:
    """Put an adapter on the Trainer's model, before it trains: a new one, or that of the checkpoint to resume.

    Args:
        options: as `adapter_options` gives them.
        checkpoint: the one to resume.
        source: where the model lies just as it is; None if the run made it: then it is saved beside the adapter.

    Raises PADNetError for options that do not suit the model.
    """
    peft, model = import_peft(), trainer.model
    sparsity = options.get("adapter_sparsity")
    if checkpoint is not None:
        adapted = peft.PeftModel.from_pretrained(model, checkpoint, is_trainable=True)
        if sparsity:
            restore_masks(adapted)
    else:
        # Where the adapter, and its card, say that its base is.
        model.name_or_path = model.config.name_or_path = source or _save_base(trainer)
        config = make_config(model, options)
        if not config.target_parameters:
            _warn_of_equal_copies(model)
        adapted = peft.get_peft_model(model, config)
        if sparsity is not None:
            _sparsify(adapted, trainer, options)
    trainer.model = trainer.model_wrapped = adapted


def _warn_of_equal_copies(model: PreTrainedModel) -> None:
    """Say what becomes of copies that the adapter does not reach."""
    copies = [weight.dynamic for weight in pad_weights(model).values() if weight.dynamic is not None]
    if copies and all(map(copies_are_equal, copies)):
        logger.warning(
            "All copies of the dynamic layers are equal, and this adapter does not reach them, so the network computes "
            "what a dense one does, in a larger file: add --granularity unit and leave --lora_targets out (or add "
            "experts to it), or start from a base whose copies were trained."
        )


def _save_base(trainer: Trainer) -> str:
    folder = Path(trainer.args.output_dir, BASE)
    if trainer.is_world_process_zero():
        with filled_whole(folder) as unfinished:
            trainer.model.save_pretrained(unfinished)
            trainer.processing_class.save_pretrained(unfinished)
    trainer.accelerator.wait_for_everyone()
    return str(folder)


def _sparsify(adapted: PreTrainedModel, trainer: Trainer, options: Mapping[str, Any]) -> None:
    training = trainer.args
    batches = CalibrationBatches(
        trainer.train_dataset,
        trainer.data_collator,
        batch_size=training.per_device_train_batch_size,
        num_batches=_NUM_BATCHES,
        seed=training.seed,
    )
    found = sparsify_adapter(
        adapted,
        batches,
        sparsity=options["adapter_sparsity"],
        criterion=options["adapter_criterion"],
        scope=options["adapter_scope"],
        num_batches=_NUM_BATCHES,
        seed=training.seed,
    )
    logger.info("adapter: %s of %s entries are kept", f"{found.kept:,}", f"{found.total:,}")
