"""What a run is asked to do, and whether it may: the checks before any data or model is read."""

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from transformers import TrainingArguments

from padnet_hf.errors import PADNetError
from padnet_hf.jobs.output_folder import SAMPLES_PER_STEP, check_output_dir, check_same_run, find_checkpoint

_WITHOUT_EFFECT = frozenset((
    "output_dir", "do_train", "do_eval", "do_predict", "resume_from_checkpoint", "ignore_data_skip",
    "restore_callback_states_from_checkpoint", "load_best_model_at_end",
    # what is said
    "logging_strategy", "logging_steps", "logging_first_step", "log_on_each_node", "logging_nan_inf_filter",
    "include_num_input_tokens_seen", "log_level", "log_level_replica", "disable_tqdm", "report_to", "run_name",
    "project", "trackio_space_id", "trackio_bucket_id", "trackio_static_space_id", "debug", "skip_memory_metrics",
    # what is measured
    "per_device_eval_batch_size", "prediction_loss_only", "eval_on_start", "eval_do_concat_batches",
    "eval_use_gather_object", "eval_accumulation_steps", "include_for_metrics", "batch_eval_metrics", "bf16_full_eval",
    "fp16_full_eval",
    # what is kept
    "save_only_model", "save_strategy", "save_steps", "save_on_each_node", "save_total_limit", "enable_jit_checkpoint",
    "push_to_hub", "hub_token", "hub_private_repo", "hub_model_id", "hub_strategy", "hub_always_push", "hub_revision",
    # where and how fast the same is computed
    "use_cpu", "local_rank", "ddp_find_unused_parameters", "ddp_bucket_cap_mb", "ddp_broadcast_buffers",
    "ddp_static_graph", "ddp_backend", "ddp_timeout", "fsdp", "fsdp_config", "deepspeed", "parallelism_config",
    "dataloader_num_workers", "dataloader_pin_memory", "dataloader_persistent_workers", "dataloader_prefetch_factor",
    "dataloader_multiprocessing_context", "torch_empty_cache_steps", "torch_compile", "torch_compile_backend",
    "torch_compile_mode", "use_cache", "activation_checkpointing", "activation_checkpointing_kwargs",
    "gradient_checkpointing", "gradient_checkpointing_kwargs",
))  # fmt: skip
"""Training options that leave the steps of a run as they are; all others are recorded, those of later versions too."""

_EVALUATIONS = frozenset(("eval_strategy", "eval_steps", "eval_delay", "metric_for_best_model", "greater_is_better"))
_LED_BY_EVALUATIONS = frozenset(("reduce_lr_on_plateau", "greedy"))
"""Schedules of the learning rate that change steps by what evaluations say."""

_LOWEST = {
    "max_train_samples": 1, "max_eval_samples": 1, "max_predict_samples": 1, "per_device_train_batch_size": 1,
    "per_device_eval_batch_size": 1, "gradient_accumulation_steps": 1, "seed": 0, "learning_rate": 0, "weight_decay": 0,
    "num_train_epochs": 0, "eval_accumulation_steps": 1, "torch_empty_cache_steps": 1,
}  # fmt: skip
_LARGEST_SEED = 2**32 - 1
"""numpy's."""

_OF_EVALUATION = {
    "prediction_loss_only": (False, "leaves out what is measured and predicted"),
    "eval_do_concat_batches": (True, "leaves the outputs in batches, which are measured together here"),
    "batch_eval_metrics": (False, "measures batch by batch, but what is measured here is of all data"),
    "label_names": (None, "is for labels of other names, but here they are called labels"),
}
"""Options of the Trainer that a script cannot do without: the value that it takes, and what another one does."""


def recorded_training(training: TrainingArguments) -> dict[str, Any]:
    """The training options that decide the result, by name, and how many samples a step takes over all processes."""
    given = training.to_dict()
    left_out = _WITHOUT_EFFECT | (frozenset() if given["lr_scheduler_type"] in _LED_BY_EVALUATIONS else _EVALUATIONS)
    recorded = {name: value for name, value in given.items() if name not in left_out}
    samples = training.train_batch_size * training.gradient_accumulation_steps * training.world_size
    return recorded | {SAMPLES_PER_STEP: samples}


def recorded_options(
    data: Mapping[str, Any], model: Mapping[str, Any], network: Mapping[str, Any], training: TrainingArguments
) -> dict[str, Any]:
    """Every option that decides the result, by name, in the order in which a resumed run compares them.

    Args:
        data: a script's own options, of which --overwrite_output_dir decides nothing.
        model: which model.
        network: which network it becomes, and how.
        training: the Trainer's options.
    """
    asked = {**data, **model, **recorded_training(training), **network}
    del asked["overwrite_output_dir"]
    return asked


def check_run(
    training: TrainingArguments,
    numbers: Mapping[str, Any],
    options: Mapping[str, Any],
    *,
    making: bool,
    overwrite: bool,
) -> str | None:
    """The checkpoint to resume, if any. Raises PADNetError if there is nothing to do or the output folder is in use.

    Args:
        training: the Trainer's options.
        numbers: the script's own options, of which those known as numbers are checked.
        options: what run_config.json records; a run to resume must have the same.
        making: whether a model will be written.
        overwrite: whether an earlier run in the output folder may be removed.
    """
    if not roles_of(training):
        raise PADNetError("nothing to do: add --do_train, --do_eval or --do_predict, or several of them")
    check_processes(training)
    check_evaluation(training)
    check_numbers({**numbers, **{name: getattr(training, name) for name in _LOWEST if hasattr(training, name)}})
    asked = training.resume_from_checkpoint
    if asked is not None and not training.do_train:
        raise PADNetError(
            f"--resume_from_checkpoint {asked} continues a training: add --do_train, or evaluate the checkpoint with "
            "--model_name_or_path"
        )
    folder = str(training.output_dir)
    source = options.get("model_name_or_path")
    check_output_dir(folder, making=making, resuming=asked is not None, overwrite=overwrite, source=source)
    checkpoint = find_checkpoint(asked, folder)
    if checkpoint is not None:
        check_same_run(options, checkpoint)
        check_same_sharding(training, checkpoint)
    return checkpoint


def check_processes(training: TrainingArguments) -> None:
    """Raise PADNetError if several processes would not work together, or not in the way asked for."""
    started = int(os.environ.get("WORLD_SIZE", 1))
    if started > 1 and training.world_size == 1:
        raise PADNetError(
            f"{started} processes were started, but each would train alone, into the same --output_dir: add --use_cpu "
            "to train together on CPUs"
        )
    if training.fsdp and training.device.type == "cpu":
        raise PADNetError(
            "--fsdp has no effect on a CPU, where accelerate keeps the whole model in every process: leave it out"
        )


def check_same_sharding(training: TrainingArguments, checkpoint: str) -> None:
    """Raise PADNetError if the checkpoint's optimizer is stored for FSDP and not to be used with it, or vice versa."""
    if any(Path(checkpoint).glob("pytorch_model_fsdp*")) != bool(training.fsdp):
        raise PADNetError(
            f"{checkpoint} was saved with{'out' if training.fsdp else ''} --fsdp: resume it in the same way, or start "
            "anew from its model with --model_name_or_path"
        )


def check_numbers(options: Mapping[str, Any]) -> None:
    """Raise PADNetError for a number that is too small (or not a number); None stands for an option not given."""
    for option, lowest in _LOWEST.items():
        value = options.get(option)
        if value is not None and not lowest <= value < math.inf:
            raise PADNetError(
                f"--{option} is {value}, but must be at least {lowest}{' and finite' if value == math.inf else ''}: "
                "give such a number, or leave it out"
            )
    if (options.get("seed") or 0) > _LARGEST_SEED:
        raise PADNetError(f"--seed is {options['seed']}, but must be at most {_LARGEST_SEED}: give such a number")


def check_evaluation(training: TrainingArguments) -> None:
    """Raise PADNetError for an option that takes away what the script measures with."""
    for option, (needed, effect) in _OF_EVALUATION.items():
        value = getattr(training, option)
        if value != needed:
            raise PADNetError(f"--{option} {value} {effect}: leave it out")


def check_measured(training: TrainingArguments, measures: Sequence[str], *, smooths: bool = True) -> None:
    """Raise PADNetError if the training is to be led by a metric that is not measured, or to smooth scores.

    Args:
        measures: what is measured in evaluation, beside the loss.
        smooths: whether labels are classes, of which each can get a share.
    """
    if training.label_smoothing_factor and not smooths:
        raise PADNetError(
            f"--label_smoothing_factor {training.label_smoothing_factor} gives each class a share of the label, but a "
            "regression has no classes: leave it out"
        )
    asked = training.metric_for_best_model
    if asked is not None and asked.removeprefix("eval_") not in (known := ("loss", *measures)):
        raise PADNetError(f"--metric_for_best_model is {asked!r}, but must be one of {', '.join(map(repr, known))}")


def roles_of(training: TrainingArguments) -> list[str]:
    """Which of train, eval and predict are asked for."""
    asked = {"train": training.do_train, "eval": training.do_eval, "predict": training.do_predict}
    return [role for role, wanted in asked.items() if wanted]
