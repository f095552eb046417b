"""Where a run of a script kills itself: each point changes one function of the process that is to die."""

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple, NoReturn

import accelerate
import numpy as np
import torch
import transformers.modeling_utils
from transformers import PreTrainedTokenizerBase, Trainer
from transformers.trainer_callback import TrainerState

from padnet_hf.method import scoring
from padnet_hf.method.weight import PADWeight

CallNumber = Callable[..., bool]


class KillPoint(NamedTuple):
    """A point in a run of four steps that saves after steps 2 and 4.

    arm: changes the process. resumes_from: step of the last whole checkpoint that is left, None if there is none.
    """

    arm: Callable[[], None]
    resumes_from: int | None


_signals = [signal.SIGKILL]
"""What this process dies of: the last one."""


def _die() -> NoReturn:
    os.kill(os.getpid(), _signals[-1])
    raise AssertionError("still alive")


def before(owner: Any, name: str, call: int = 1, inside: str = "") -> Callable[[], None]:
    """Die at the start of the `call`-th call of owner.name, of those with an argument that has `inside` in it."""

    def arm() -> None:
        original, seen = getattr(owner, name), []

        def counted(*args: Any, **kwargs: Any) -> Any:
            if not inside or any(inside in str(value) for value in args if isinstance(value, str | Path)):
                seen.append(name)
                if len(seen) == call:
                    _die()
            return original(*args, **kwargs)

        setattr(owner, name, counted)

    return arm


def halfway(owner: Any, name: str, inside: str, call: int = 1) -> Callable[[], None]:
    """Die in the `call`-th call of owner.name that writes a file with `inside` in its path, half of which is there."""

    def arm() -> None:
        original, seen = getattr(owner, name), []

        def cut(*args: Any, **kwargs: Any) -> Any:
            result = original(*args, **kwargs)
            for path in (Path(value) for value in args if isinstance(value, str | Path) and inside in str(value)):
                seen.append(path)
                if len(seen) == call:
                    os.truncate(path, path.stat().st_size // 2)
                    _die()
            return result

        setattr(owner, name, cut)

    return arm


def _half_removed() -> None:
    original = shutil.rmtree

    def begin(path: Any, *args: Any, **kwargs: Any) -> None:
        if "checkpoint-" in Path(path).name:
            (Path(path) / "optimizer.pt").unlink()
            _die()
        original(path, *args, **kwargs)

    shutil.rmtree = begin


SAVING = {
    "the checkpoint's weights are written by half": KillPoint(
        halfway(transformers.modeling_utils, "safe_save_file", "checkpoint-4"), 2
    ),
    "the checkpoint's weights are to be moved into place": KillPoint(
        before(os, "replace", inside="checkpoint-4/_unfinished/model.safetensors"), 2
    ),
    "the checkpoint's weights are in place, its config is not": KillPoint(
        before(os, "replace", inside="checkpoint-4/_unfinished/config.json"), 2
    ),
    "the checkpoint's tokenizer is to be written": KillPoint(
        before(PreTrainedTokenizerBase, "save_pretrained", inside="checkpoint-4"), 2
    ),
    "the checkpoint's arguments are written by half": KillPoint(
        halfway(torch, "save", "checkpoint-4/training_args.bin"), 2
    ),
    "the checkpoint's optimizer is written by half": KillPoint(halfway(torch, "save", "checkpoint-4/optimizer.pt"), 2),
    "the checkpoint's scheduler is written by half": KillPoint(halfway(torch, "save", "checkpoint-4/scheduler.pt"), 2),
    "the checkpoint's random state is written by half": KillPoint(halfway(torch, "save", "checkpoint-4/rng_state"), 2),
    "the trainer's state is to be written": KillPoint(before(TrainerState, "save_to_json", inside="checkpoint-4"), 2),
    "the trainer's state is written by half": KillPoint(halfway(TrainerState, "save_to_json", "checkpoint-4"), 2),
    "the older checkpoint is removed by half": KillPoint(_half_removed, 4),
}
"""In the saving of checkpoint-4."""

READING = {
    "text: a document is to be cut into tokens": KillPoint(
        before(PreTrainedTokenizerBase, "__call__", call=3),
        None,  # two calls ask what stands around a text
    ),
    "text: the blocks are to be put together": KillPoint(before(np, "stack"), None),
}
"""In a script that cuts text into blocks."""

POINTS = {
    "partition: a batch is to be scored": KillPoint(before(scoring, "_loss", call=3), None),
    "partition: some weights are partitioned, others not": KillPoint(before(PADWeight, "become", call=3), None),
    "start: what was asked for is to be moved into place": KillPoint(before(os, "replace", inside="run_config"), None),
    "start: the report is to be moved into place": KillPoint(before(os, "replace", inside="partition_report"), None),
    "training: before the first step": KillPoint(before(Trainer, "training_step", call=1), None),
    "training: between steps, without a checkpoint": KillPoint(before(Trainer, "training_step", call=2), None),
    "training: between steps": KillPoint(before(Trainer, "training_step", call=4), 2),
    "training: in a backward pass": KillPoint(before(accelerate.Accelerator, "backward", call=3), 2),
    "training: before the optimizer moves": KillPoint(before(torch.optim.AdamW, "step", call=4), 2),
    **{f"saving: {name}": point for name, point in SAVING.items()},
    "end: the model is written by half": KillPoint(
        halfway(transformers.modeling_utils, "safe_save_file", "out/_unfinished"), 4
    ),
    "end: the weights are in place, the config is not": KillPoint(
        before(os, "replace", inside="out/_unfinished/config.json"), 4
    ),
    "end: the tokenizer is to be written": KillPoint(
        before(PreTrainedTokenizerBase, "save_pretrained", inside="out", call=3), 4
    ),
    "end: the trainer's state is to be written": KillPoint(before(TrainerState, "save_to_json", call=3), 4),
    "end: the metrics are to be written": KillPoint(before(Trainer, "save_metrics"), 4),
    "end: the model card is to be moved into place": KillPoint(before(os, "replace", inside="README.md"), 4),
}


MORE = {
    "an earlier run is removed in part": before(Path, "unlink", inside="out/all_results.json"),
    "a checkpoint is saved again, its scheduler is to be written": before(torch, "save", inside="4/scheduler.pt"),
    "the model is evaluated a second time": before(Trainer, "evaluate", call=2),
    "the best model is to be loaded": before(Trainer, "_load_best_model"),
    "second process: between steps": before(Trainer, "training_step", call=4),
    "second process: its random state is written by half": halfway(torch, "save", "checkpoint-4/rng_state_1.pth"),
}
"""In runs of other kinds."""


def arm(script: ModuleType, name: str, rank: int = 0, of: signal.Signals = signal.SIGKILL) -> None:
    """Make this process die of a signal at the point of this name, if it is the one of this rank."""
    if int(os.environ.get("RANK", 0)) == rank:
        _signals.append(of)
        known = READING | POINTS
        (known[name].arm if name in known else MORE[name])()
