"""Two processes (DDP over gloo) do what one does with batches twice as large."""

import json
import shutil
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.distributed.noting import note_state
from tests.forked import Script

pytestmark = pytest.mark.slow

KINDS = ("element", "unit", "text")
TOLERANCE = 2e-6
"""Of weights after four steps at learning rate 1e-2; seen: 2e-7."""

CALIBRATION = ("--imp_batches", "8")  # options of the partition may not differ when a run is resumed
ONE = ("--per_device_train_batch_size", "8", "--imp_batches", "4")
TWO = ("--per_device_train_batch_size", "4", "--imp_batches", "8")
"""The same 32 sentences, or blocks of text, to calibrate on, and the same 8 in every step."""


def results(folder: Path) -> tuple[dict[str, torch.Tensor], str, dict[str, float]]:
    """Weights, hash of the masks, metrics."""
    config = json.loads((folder / "config.json").read_text())
    return load_file(folder / "model.safetensors"), config["partition"]["mask_hash"], metrics(folder)


def metrics(folder: Path) -> dict[str, float]:
    return json.loads((folder / "all_results.json").read_text())


def assert_same(first: Path, second: Path) -> None:
    (weights, masks, measured), (others, other_masks, other) = results(first), results(second)
    assert masks == other_masks
    torch.testing.assert_close(weights, others, rtol=0, atol=TOLERANCE)
    assert measured["eval_samples"] == 13
    names = [name for name in measured if name.startswith("eval_") and not name.endswith(("runtime", "_second"))]
    assert [measured[name] for name in names] == pytest.approx([other[name] for name in names], rel=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_two_processes_end_like_one_with_the_same_samples_in_every_step(
    kind: str, runs: dict[str, Script], tmp_path: Path
) -> None:
    training, alone, together = runs[kind], tmp_path / "alone", tmp_path / "together"
    training.run(*ONE, "--output_dir", str(alone))
    first, second = training.run(
        *TWO, "--output_dir", str(together), processes=2, change=partial(note_state, folder=tmp_path)
    )
    assert_same(alone, together)

    notes = [json.loads((tmp_path / f"state{rank}.json").read_text()) for rank in (0, 1)]
    assert notes[0] == notes[1]
    assert notes[0]["begin"]["masks"] == notes[0]["end"]["masks"]
    assert notes[0]["begin"]["weights"] != notes[0]["end"]["weights"]

    assert "What this run made" in first.out
    assert second.out == ""
    assert "it/s" not in second.err  # no progress bar


def test_an_accumulated_batch_is_what_a_second_process_has(training: Script, tmp_path: Path) -> None:
    accumulating, together = tmp_path / "accumulating", tmp_path / "together"
    training.run(*TWO, "--gradient_accumulation_steps", "2", "--output_dir", str(accumulating))
    training.run(*TWO, "--output_dir", str(together), processes=2)
    assert_same(accumulating, together)


@pytest.mark.parametrize(("before", "after"), [(2, 1), (1, 2)])
def test_a_run_goes_on_in_another_number_of_processes_with_as_many_samples_in_every_step(
    before: int, after: int, training: Script, tmp_path: Path
) -> None:
    how, whole, out = {1: ONE, 2: TWO}, tmp_path / "whole", tmp_path / "out"
    training.run(*how[before], *CALIBRATION, "--output_dir", str(whole), processes=before)
    shutil.copytree(whole, out)
    shutil.rmtree(out / "checkpoint-4")
    options = [*CALIBRATION, "--resume_from_checkpoint", "last"]
    first = training.start(*how[before], *options, processes=after)[0]
    assert first.code == 2
    assert f"a step would take {8 * after // before} samples" in first.err
    training.run(*how[after], *options, processes=after)
    assert_same(whole, out)


def test_a_layer_without_dynamic_weights_trains_in_two_processes(training: Script, tmp_path: Path) -> None:
    training.run("--dynamic_ratio", "0", processes=2)
    assert metrics(tmp_path / "out")["train_loss"] > 0


def test_more_processes_than_calibration_batches_partition_too(training: Script, tmp_path: Path) -> None:
    training.run("--imp_batches", "1", processes=2)
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    training.run("--imp_batches", "1", "--output_dir", str(tmp_path / "alone"))
    alone = json.loads((tmp_path / "alone" / "config.json").read_text())
    assert config["partition"] == alone["partition"]
