"""What the Trainer refuses or training does not survive: one error, before the partition if it can be, nothing lost."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors import safe_open

from padnet_hf import PADNetError
from padnet_hf.jobs import rehearsal
from run_glue import main

Run = Callable[..., dict[str, float]]


@pytest.fixture
def run(tiny_bert: str, files: Callable[..., dict[str, str]], tmp_path: Path) -> Run:
    """A short partitioned run on eight sentences; later options win."""
    paths = files()

    def call(*options: str) -> dict[str, float]:
        data = [part for split in ("train", "validation") for part in (f"--{split}_file", paths[split])]
        common = ["--model_name_or_path", tiny_bert, "--output_dir", str(tmp_path / "out"), "--max_seq_length", "32"]
        common += ["--use_cpu", "--disable_tqdm", "True", "--per_device_train_batch_size", "4", "--max_steps", "2"]
        return main([*common, *data, "--use_pad", "--imp_rounds", "1", "--do_train", "--do_eval", *options])

    return call


REFUSED = {
    "an optimizer that is not installed": ("--optim galore_adamw", "You need to install `galore_torch`"),
    "a schedule without its arguments": ("--lr_scheduler_type cosine_with_min_lr", "One of min_lr or min_lr_rate"),
    "reports of a library that is not installed": ("--report_to tensorboard", "requires tensorboard"),
    "the Hub without a network": ("--push_to_hub", "offline mode is enabled"),
    "outputs that are not kept": ("--prediction_loss_only", "leaves out what is measured and predicted: leave it out"),
    "outputs that are not put together": ("--eval_do_concat_batches False", "leaves the outputs in batches"),
    "a metric that is not measured": ("--metric_for_best_model f1", "must be one of 'loss', 'accuracy'"),
    "an optimizer's settings": ("--adam_beta1 2", "Invalid beta parameter at index 0"),
    "a file that is not there": ("--accelerator_config nowhere.json", "nowhere.json"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused_is_one_error_before_the_partition_and_an_earlier_run_stays(
    case: str, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options, message = REFUSED[case]
    (tmp_path / "out").mkdir()
    for name in ("run_config.json", "model.safetensors", "README.md"):
        (tmp_path / "out" / name).write_text("an earlier run's")
    monkeypatch.delattr(rehearsal, "IMPCallback")
    with pytest.raises(PADNetError, match=message):
        run(*options.split(), "--overwrite_output_dir")
    kept = {path.name: path.read_text() for path in (tmp_path / "out").iterdir()}
    assert kept == dict.fromkeys(("run_config.json", "model.safetensors", "README.md"), "an earlier run's")


def test_a_regression_is_not_smoothed(run: Run, files: Callable, reviews, tmp_path: Path) -> None:
    scored = files(suffix=".parquet", train=reviews.assign(label=[number / 2 for number in range(8)]))["train"]
    with pytest.raises(PADNetError, match="a regression has no classes: leave it out"):
        run("--train_file", scored, "--validation_file", scored, "--label_smoothing_factor", "0.1")
    assert not (tmp_path / "out").exists()


def test_a_diverged_training_is_an_error_and_keeps_its_checkpoints(run: Run, tmp_path: Path) -> None:
    with pytest.raises(PADNetError, match=r"training diverged before step 4: .*learning_rate \(it is 1e\+30\)"):
        run("--learning_rate", "1e30", "--max_grad_norm", "0", "--max_steps", "6", "--save_steps", "4")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "partition.png", "partition_report.json", "run_config.json"
    ]  # fmt: skip


def test_weights_and_what_is_said_of_them_are_of_the_precision_that_was_trained(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = {}
    for option in ("", "--bf16_full_eval"):
        out = tmp_path / f"out{option}"
        run("--output_dir", str(out), *option.split())
        with safe_open(out / "model.safetensors", framework="pt") as file:
            kinds = {file.get_slice(name).get_dtype() for name in file.keys()}  # noqa: SIM118
        assert kinds == {"F32", "U8"}
        table = re.search(r"partitioned +([\d,]+) +([\d,]+)", capsys.readouterr().out).groups()
        assert table[1] == f"{(out / 'model.safetensors').stat().st_size:,}"
        card = (out / "README.md").read_text()
        said[option] = (table, re.search(r"\| \*\*this model\*\* \|.*", card)[0])
    assert said[""] == said["--bf16_full_eval"]


@pytest.mark.parametrize("option", ["--dataloader_drop_last", "--train_sampling_strategy group_by_length"])
def test_evaluation_and_prediction_are_of_all_rows_in_order(
    option: str, run: Run, files: Callable, tmp_path: Path
) -> None:
    predicting = ["--test_file", files()["test"], "--do_predict"]
    lines = {}
    for options in ([], [*option.split(), "--per_device_eval_batch_size", "3"]):
        out = tmp_path / f"out{len(options)}"
        run("--output_dir", str(out), "--learning_rate", "0", *predicting, *options)
        lines[len(options)] = (out / "predict_results_files.txt").read_text().splitlines()
    first, second = lines.values()
    assert len(first) == 9
    assert first == second
