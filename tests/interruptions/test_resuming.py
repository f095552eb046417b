"""Resuming, in the cases that a killed run of four plain steps in one process does not meet."""

import signal
from functools import partial
from pathlib import Path

import pytest

from padnet_hf.jobs.output_folder import find_checkpoint
from tests.forked import Script
from tests.interruptions.comparing import results
from tests.interruptions.kill_points import arm

pytestmark = pytest.mark.slow

RESUME = ("--resume_from_checkpoint", "last")
BEST = ("--load_best_model_at_end", "True", "--eval_strategy", "steps", "--eval_steps", "2", "--save_total_limit", "1")
BEST += ("--metric_for_best_model", "loss", "--greater_is_better", "True")  # the larger loss: the earlier checkpoint's
CONSTANT = ("--lr_scheduler_type", "constant", "--learning_rate", "1e-3")


def kill(training: Script, point: str, *options: str) -> None:
    (ended,) = training.start(*options, change=partial(arm, name=point))
    assert ended.code == -signal.SIGKILL, ended.err


def test_a_run_resumed_at_its_end_trains_no_further(training: Script, tmp_path: Path) -> None:
    training.run(*CONSTANT)
    before = results(tmp_path / "out")
    training.run(*CONSTANT, *RESUME)
    assert results(tmp_path / "out") == before
    assert not (tmp_path / "out" / "checkpoint-5").exists()


def test_a_checkpoint_that_was_being_saved_again_is_not_resumed_from(training: Script, tmp_path: Path) -> None:
    out = tmp_path / "out"
    training.run()
    before = results(out)
    again = ("--resume_from_checkpoint", str(out / "checkpoint-2"))
    kill(training, "a checkpoint is saved again, its scheduler is to be written", *again)
    assert find_checkpoint("last", str(out)) == str(out / "checkpoint-2")
    training.run(*RESUME)
    assert results(out) == before


def test_replacing_an_earlier_run_can_be_repeated_after_it_was_killed(training: Script, tmp_path: Path) -> None:
    training.run()
    before = results(tmp_path / "out")
    kill(training, "an earlier run is removed in part", "--overwrite_output_dir")
    training.run("--overwrite_output_dir")
    assert results(tmp_path / "out") == before


@pytest.mark.parametrize("point", ["the model is evaluated a second time", "the best model is to be loaded"])
def test_the_best_model_is_found_across_an_interruption(
    point: str, training: Script, training_file: str, tmp_path: Path
) -> None:
    options = [*BEST, *CONSTANT, "--do_eval", "--validation_file", training_file]
    whole, out = tmp_path / "whole", tmp_path / "out"
    training.run(*options, "--output_dir", str(whole))
    kill(training, point, *options)
    training.run(*options, *RESUME)
    assert (out / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
    kept = [sorted(path.name for path in folder.glob("checkpoint-*")) for folder in (whole, out)]
    assert kept == [["checkpoint-2"]] * 2  # the best one, and by --save_total_limit no other


# Several processes


@pytest.mark.parametrize(
    ("point", "kind"),
    [
        *(("second process: between steps", kind) for kind in ("element", "text", "streamed")),
        ("second process: its random state is written by half", "element"),
    ],
)
def test_when_one_of_two_processes_is_killed_both_go_on(
    point: str, kind: str, runs: dict[str, Script], tmp_path: Path
) -> None:
    training, out, whole = runs[kind], tmp_path / "out", tmp_path / "whole"
    training.run("--output_dir", str(whole), processes=2)
    first, second = training.start(processes=2, change=partial(arm, name=point, rank=1))
    assert second.code == -signal.SIGKILL, second.err
    assert first.code != 0
    assert find_checkpoint("last", str(out)) == str(out / "checkpoint-2")
    training.run(*RESUME, processes=2)
    assert results(out) == results(whole)
