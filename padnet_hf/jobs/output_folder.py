"""What stands in --output_dir: protecting an earlier run, resuming it, and saying what was asked for."""

import json
import logging
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any
from zipfile import is_zipfile

from safetensors import SafetensorError, safe_open
from transformers import TrainingArguments
from transformers.trainer_callback import TrainerState

from padnet_hf.errors import PADNetError
from padnet_hf.hub.whole_files import is_unfinished, write_json

logger = logging.getLogger(__name__)

RUN_CONFIG = "run_config.json"
TRAINED = "trained"
"""Where the fully dynamic network lies that a late partition begins with: a run in a folder of its own."""

_MAY_DIFFER = frozenset(
    (
        "num_train_epochs", "max_steps", "max_eval_samples", "max_predict_samples", "validation_file", "test_file",
        "test_dir",
    )
)  # fmt: skip
"""Options that may change when a run is resumed: the steps done so far would have been the same."""

SAMPLES_PER_STEP = "samples_per_step"
_PER_PROCESS = frozenset(("per_device_train_batch_size", "gradient_accumulation_steps"))
"""Options that may change when a run is resumed if SAMPLES_PER_STEP stays: it goes on in more or fewer processes."""

_IF_KNOWN = frozenset(
    ("tokenizer_name", "imp_static_values", "masks", *(field.name for field in fields(TrainingArguments)))
)
"""Of these a run_config.json holds those that its version of transformers and of this package knew."""

_BY_MODEL = frozenset(("imp_criterion", "imp_static_values"))
"""None of these stands for what suits the model; how that was partitioned is compared besides."""

_RESULTS = (
    "checkpoint-*", RUN_CONFIG, "partition_report.json", "partition.png", "*_results.json", "predict_results_*.txt",
    "trainer_state.json", "training_args.bin", "config.json", "model*.safetensors", "model.safetensors.index.json",
    "tokenizer.json", "tokenizer_config.json", "vocab.txt", "special_tokens_map.json", "preprocessor_config.json",
    "generation_config.json", "chat_template.jinja",
    "per_class_accuracy*.json", "confusion_matrix*.png", "README.md", "modeling_padnet.py",
    "base", "adapter_config.json", "adapter_model.safetensors", TRAINED,
)  # fmt: skip
"""What a run leaves behind, of whichever script: one may replace the other's."""

_PARTS = ("optimizer.*", "scheduler.pt", "rng_state*.pth")
"""What a checkpoint needs beside weights and state, so that training goes on as if it had not been interrupted."""


def check_output_dir(folder: str, *, making: bool, resuming: bool, overwrite: bool, source: str | None = None) -> None:
    """Raise PADNetError if the model to be made would stand among other results; `source` is what it begins with."""
    path = Path(folder)
    if path.exists() and not path.is_dir():
        raise PADNetError(f"--output_dir {folder} is a file: give a folder, new or empty")
    nearest = next(parent for parent in (path, *path.absolute().parents) if parent.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        raise PADNetError(
            f"--output_dir {folder} cannot be made or written to: {nearest} is no folder that you may write to; give "
            "another one"
        )
    if resuming and overwrite:
        raise PADNetError(
            "--resume_from_checkpoint and --overwrite_output_dir exclude each other: the first continues the run in "
            "--output_dir, the second removes it"
        )
    if not making or resuming or not path.is_dir():
        return
    if all(is_unfinished(found) or _holds(found, source) for found in path.iterdir()):
        return
    if overwrite and not any((run / RUN_CONFIG).is_file() for run in (path, path / TRAINED)):
        raise PADNetError(
            f"--output_dir {folder} holds other things than a run of a training script (no {RUN_CONFIG}), which "
            "--overwrite_output_dir does not remove: give another folder"
        )
    if not overwrite:
        raise PADNetError(
            f"--output_dir {folder} holds other results: add --overwrite_output_dir to replace them, or "
            "--resume_from_checkpoint last to continue"
        )


def find_checkpoint(asked: str | None, folder: str) -> str | None:
    """The checkpoint folder to resume: the path itself, or for `last` the newest complete one in the output folder.

    Raises PADNetError if it is not there, or not complete because saving it was interrupted.
    """
    if asked is None:
        return None
    if asked != "last":
        if (lack := lacking(Path(asked))) is not None:
            raise PADNetError(
                f"--resume_from_checkpoint {asked} is not a complete checkpoint ({lack}): give another folder, or "
                "`last` for the newest complete one"
            )
        return asked
    numbered = {path: re.fullmatch(r"checkpoint-(\d+)", path.name) for path in Path(folder).glob("checkpoint-*")}
    steps = {int(match[1]): path for path, match in numbered.items() if match}
    for step in sorted(steps, reverse=True):
        if (lack := lacking(steps[step])) is None:
            return str(steps[step])
        logger.warning("%s is passed over, it is not complete: %s", steps[step], lack)
    raise PADNetError(
        f"--resume_from_checkpoint last: --output_dir {folder} holds no complete checkpoint; leave the option out and "
        "add --overwrite_output_dir to train anew"
    )


def lacking(checkpoint: Path) -> str | None:
    """What a checkpoint lacks because saving it was interrupted, or removing it began; None if it is complete.

    The trainer's state, written last, can be read, and so can the configuration and all weights; nothing that training
    goes on from is missing or cut off.
    """
    adapter = checkpoint / "adapter_config.json"
    configuration, kind = (adapter, "peft_type") if adapter.exists() else (checkpoint / "config.json", "model_type")
    part = "trainer_state.json"
    try:
        TrainerState.load_from_json(str(checkpoint / part))
        part = configuration.name
        json.loads(configuration.read_text(encoding="utf-8"))[kind]
        part = "the model weights"
        for shard in _weight_files(checkpoint):
            with safe_open(checkpoint / shard, framework="pt"):
                pass
    except (OSError, ValueError, TypeError, LookupError, SafetensorError):
        return f"{part} cannot be read"
    broken = [pattern for pattern in _PARTS if not _is_whole(checkpoint, pattern)]
    return f"{broken[0]} cannot be read" if broken else None


def _weight_files(checkpoint: Path) -> set[str]:
    """Names of the files that the weights should be in: of an adapter, of shards, or of a model in one file."""
    index = checkpoint / "model.safetensors.index.json"
    if (checkpoint / "adapter_config.json").exists():
        return {"adapter_model.safetensors"}
    return set(json.loads(index.read_text())["weight_map"].values()) if index.exists() else {"model.safetensors"}


def _is_whole(checkpoint: Path, pattern: str) -> bool:
    """Whether there is such a file and each has its end: torch.save writes zip archives, whose directory comes last."""
    found = list(checkpoint.glob(pattern))
    return bool(found) and all(map(is_zipfile, found))


def check_same_run(asked: Mapping[str, Any], checkpoint: str) -> None:
    """Raise PADNetError if the run that wrote the checkpoint was asked for something else.

    An option that only one of the two knows, being of another version, is not compared.
    """
    path = Path(checkpoint).resolve().parent / RUN_CONFIG
    if not path.is_file():
        return
    try:
        saved = dict(json.loads(path.read_text(encoding="utf-8"))["options"])
    except (ValueError, LookupError, TypeError) as error:
        raise PADNetError(f"{path} cannot be read: remove it to resume without comparing options") from error
    now = json.loads(json.dumps(asked))
    may_differ = _MAY_DIFFER | (_PER_PROCESS if SAMPLES_PER_STEP in saved else {SAMPLES_PER_STEP})
    for option in saved | now:  # in the order of recording: --use_pad before what it brings along
        unknown = option in _IF_KNOWN and not (option in saved and option in now)
        unknown |= option in _BY_MODEL and None in (saved.get(option), now.get(option))
        if unknown or option in may_differ or now.get(option) == saved.get(option):
            continue
        if option == SAMPLES_PER_STEP:
            raise PADNetError(
                f"a step would take {now.get(option)} samples, but {checkpoint} was trained with {saved[option]}: "
                "choose --per_device_train_batch_size, --gradient_accumulation_steps and the number of processes so "
                f"that their product is {saved[option]}"
            )
        raise PADNetError(
            f"--{option} is {now.get(option)!r}, but {checkpoint} was trained with {saved.get(option)!r}: give the "
            "same value to resume, or train anew into another --output_dir"
        )


def write_run_config(
    folder: str, options: Mapping[str, Any], version: str, columns: Mapping[str, Any] | None = None
) -> None:
    """Say in run_config.json what was asked for, and which columns were read; the file is there whole or not at all."""
    read = {"columns": dict(columns)} if columns else {}
    write_json(Path(folder, RUN_CONFIG), {"padnet_hf": version, "options": dict(options), **read})


def remove_earlier_run(folder: str, source: str | None = None) -> None:
    """Remove what a run leaves behind, but not the model that the next one begins with, and nothing else.

    Last goes what says that the folder holds a run, so a removal that was interrupted can be repeated.
    """
    for pattern in (*(name for name in _RESULTS if name != RUN_CONFIG), RUN_CONFIG):
        for path in Path(folder).glob(pattern):
            if not _holds(path, source):
                shutil.rmtree(path) if path.is_dir() else path.unlink()


def _holds(path: Path, source: str | None) -> bool:
    """Whether a folder is the source, or has it somewhere in it."""
    return source is not None and Path(source).resolve().is_relative_to(path.resolve())
