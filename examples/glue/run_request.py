"""What a run is asked to do, and whether it may: the checks before any data or model is read."""

from dataclasses import asdict
from typing import Any

from transformers import TrainingArguments

from glue_arguments import Arguments, experts_options, partition_options
from output_folder import check_output_dir, check_same_run, find_checkpoint
from padnet_hf import PADNetError, PartitionConfig

_RECORDED = (
    "seed", "data_seed", "learning_rate", "weight_decay", "lr_scheduler_type", "warmup_steps", "num_train_epochs",
    "max_steps", "optim", "per_device_train_batch_size", "gradient_accumulation_steps", "bf16", "fp16",
)  # fmt: skip
"""Training options that run_config.json records, and that a resumed run must share."""


_LOWEST = {
    "max_train_samples": 1, "max_eval_samples": 1, "max_predict_samples": 1, "per_device_train_batch_size": 1,
    "per_device_eval_batch_size": 1, "gradient_accumulation_steps": 1, "seed": 0, "learning_rate": 0, "weight_decay": 0,
    "num_train_epochs": 0,
}  # fmt: skip


def recorded_options(arguments: Arguments, partition: PartitionConfig | None) -> dict[str, Any]:
    """Every option that decides the result, by name, defaults filled in."""
    model, data, pad, training = arguments
    asked = asdict(data) | {"model_name_or_path": model.model_name_or_path, "model_revision": model.model_revision}
    asked |= {name: getattr(training, name) for name in _RECORDED}
    asked |= {"use_pad": pad.use_pad, "use_moe": pad.use_moe} | experts_options(pad) | partition_options(partition)
    del asked["overwrite_output_dir"]
    return asked


def check_run(arguments: Arguments, options: dict[str, Any]) -> str | None:
    """The checkpoint to resume, if any. Raises PADNetError if there is nothing to do or the output folder is in use."""
    _, data, _, training = arguments
    if not roles_of(training):
        raise PADNetError("nothing to do: add --do_train, --do_eval or --do_predict, or several of them")
    check_numbers(asdict(data) | {name: getattr(training, name) for name in _LOWEST if hasattr(training, name)})
    asked = training.resume_from_checkpoint
    if asked is not None and not training.do_train:
        raise PADNetError(
            f"--resume_from_checkpoint {asked} continues a training: add --do_train, or evaluate the checkpoint with "
            "--model_name_or_path"
        )
    folder = str(training.output_dir)
    overwrite, resuming = data.overwrite_output_dir, asked is not None
    check_output_dir(folder, making=makes_model(arguments), resuming=resuming, overwrite=overwrite)
    checkpoint = find_checkpoint(asked, folder)
    if checkpoint is not None:
        check_same_run(options, checkpoint)
    return checkpoint


def check_numbers(options: dict[str, Any]) -> None:
    """Raise PADNetError for a number that is too small (or not a number); None stands for an option not given."""
    for option, lowest in _LOWEST.items():
        value = options.get(option)
        if value is not None and not value >= lowest:
            raise PADNetError(
                f"--{option} is {value}, but must be at least {lowest}: give such a number, or leave it out"
            )


def roles_of(training: TrainingArguments) -> list[str]:
    """Which of train, eval and predict are asked for."""
    asked = {"train": training.do_train, "eval": training.do_eval, "predict": training.do_predict}
    return [role for role, wanted in asked.items() if wanted]


def makes_model(arguments: Arguments) -> bool:
    """Whether a model will be written: always but when an existing one is only evaluated or asked for predictions."""
    *_, pad, training = arguments
    return training.do_train or pad.variant != "dense"
