"""A late partition: two runs of a script, of which the second begins with what the first has trained.

OUT/trained/    the fully dynamic network, a whole run with checkpoints of its own
OUT/            the same, partitioned; with recovery, a run with checkpoints too
"""

import copy
import gc
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

from accelerate import PartialState
from transformers import TrainingArguments

from padnet_hf.errors import PADNetError
from padnet_hf.jobs.output_folder import RUN_CONFIG, TRAINED, check_output_dir, check_same_run
from padnet_hf.jobs.partition_options import PartitionOptions

logger = logging.getLogger(__name__)

_EVALUATED, _HAS_TRAINED = "eval_results.json", "train_results.json"

Arguments = TypeVar("Arguments", bound=tuple[Any, ...])
Options = Callable[[Arguments], Mapping[str, Any]]


class Before(NamedTuple):
    """The fully dynamic network that was partitioned: where it lies, and its metrics by name."""

    folder: str
    metrics: dict[str, float]


class Run(Protocol[Arguments]):
    """A script's run: does what the arguments say, and returns the metrics. Its closing table has `before` too."""

    def __call__(self, arguments: Arguments, before: Before | None = None) -> dict[str, float]: ...


def run_in_order(run: Run[Arguments], arguments: Arguments, recorded: Options[Arguments]) -> dict[str, float]:
    """Do what the arguments say, in two runs where the partition is to come late. Returns the metrics of the last one.

    Resumed, it goes on where it stopped: in the first run, between both, or in the second.

    Args:
        arguments: of the script: among others one with `model_name_or_path`, one with `overwrite_output_dir`,
            PartitionOptions and TrainingArguments.
        recorded: gives the options that a run's run_config.json records. Raises PADNetError for any that is wrong.

    Raises PADNetError for options that do not go together, before anything is trained.
    """
    pad, training = _of(arguments, PartitionOptions), _of(arguments, TrainingArguments)
    if not pad.is_late:
        return run(arguments)
    recorded(arguments)  # a mistake in the partition shows before the training
    _check(arguments, pad, training)
    first = _first(arguments, pad, training)
    folder = Path(_of(first, TrainingArguments).output_dir)
    if training.resume_from_checkpoint is None or not (folder / _HAS_TRAINED).is_file():
        run(first)
    else:
        check_same_run(recorded(first), str(folder / "model.safetensors"))
        logger.info("the training is done: going on from %s", folder)
        if training.do_eval and not (folder / _EVALUATED).is_file():
            run(_measured(first, folder))
    _settle()
    results = (folder / _EVALUATED).read_text(encoding="utf-8") if training.do_eval else "{}"
    return run(_second(arguments, pad, training, folder), Before(str(folder), json.loads(results)))


def _of(arguments: tuple[Any, ...], kind: type | str) -> Any:
    """Of the script's arguments those of this class, or the ones that have this option."""
    has = (lambda part: hasattr(part, kind)) if isinstance(kind, str) else (lambda part: isinstance(part, kind))
    return next(part for part in arguments if has(part))


def _with(arguments: Arguments, *changed: Any) -> Arguments:
    """The same, but for arguments of these classes."""
    by_class = {type(part): part for part in changed}
    return tuple(by_class.get(type(part), part) for part in arguments)  # type: ignore[return-value]


def _changed(training: TrainingArguments, **fields: Any) -> TrainingArguments:
    """A copy with other values: building it anew would start processes and devices again."""
    training = copy.copy(training)
    for name, value in fields.items():
        setattr(training, name, value)
    return training


def _check(arguments: tuple[Any, ...], pad: PartitionOptions, training: TrainingArguments) -> None:
    if not training.do_train:
        raise PADNetError(
            "--partition_when after has nothing to come after: add --do_train, or give a trained fully dynamic model "
            "with --model_name_or_path and leave --partition_when out"
        )
    if any(getattr(part, "lora", False) for part in arguments):
        raise PADNetError(
            "--partition_when after and --lora exclude each other (an adapter leaves the copies as they are, so that "
            "there is nothing to choose by): leave out one of them"
        )
    asked = training.resume_from_checkpoint
    if asked not in (None, "last"):
        raise PADNetError(
            f"--resume_from_checkpoint is {asked}, but with --partition_when after it must be `last`, which finds the "
            "one of both trainings to go on with: give that"
        )
    overwrite = _of(arguments, "overwrite_output_dir").overwrite_output_dir
    check_output_dir(str(training.output_dir), making=True, resuming=asked is not None, overwrite=overwrite)


def _first(arguments: Arguments, pad: PartitionOptions, training: TrainingArguments) -> Arguments:
    """Of the first run: fully dynamic, in a folder of its own; nothing is predicted or pushed."""
    folder = str(Path(training.output_dir, TRAINED))
    return _with(
        arguments,
        pad.fully_dynamic(),
        _changed(training, output_dir=folder, do_predict=False, push_to_hub=False),
    )


def _measured(first: Arguments, folder: Path) -> Arguments:
    """Of an evaluation that the first run did not come to."""
    nothing_asked = type(_of(first, PartitionOptions))()
    return _with(
        first,
        _from(first, folder),
        nothing_asked,
        _changed(_of(first, TrainingArguments), do_train=False, resume_from_checkpoint=None),
    )


def _second(arguments: Arguments, pad: PartitionOptions, training: TrainingArguments, folder: Path) -> Arguments:
    """Of the second run: it begins with the trained network, and trains only to recover."""
    data, steps, out = _of(arguments, "overwrite_output_dir"), pad.recovery_steps or 0, Path(training.output_dir)
    earlier = out / RUN_CONFIG
    begun = earlier.is_file() and earlier.stat().st_mtime_ns > (folder / _HAS_TRAINED).stat().st_mtime_ns
    resumed = "last" if begun and steps and any(out.glob("checkpoint-*")) else None
    return _with(
        arguments,
        _from(arguments, folder),
        replace(data, overwrite_output_dir=resumed is None and earlier.is_file()),
        pad.trained(),
        _changed(training, do_train=steps > 0, max_steps=steps or -1, resume_from_checkpoint=resumed),
    )


def _from(arguments: tuple[Any, ...], folder: Path) -> Any:
    """The model's arguments, when it lies in this folder: its shape, tokenizer and revision come with it."""
    model = _of(arguments, "model_name_or_path")
    return type(model)(model_name_or_path=str(folder), cache_dir=model.cache_dir)


def _settle() -> None:
    """All processes have written what the next run reads, and the model of the first one leaves memory."""
    PartialState().wait_for_everyone()
    gc.collect()
