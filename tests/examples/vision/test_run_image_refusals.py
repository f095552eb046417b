"""What the Trainer refuses or training does not survive: one error, before the partition if it can be."""

from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors import safe_open

from padnet_hf import PADNetError
from padnet_hf.jobs import rehearsal
from run_image_classification import main

Run = Callable[..., dict[str, float]]


@pytest.fixture
def run(folders: Callable[..., dict[str, str]], tmp_path: Path) -> Run:
    """A short partitioned run on sixteen pictures; later options win."""
    paths = folders()

    def call(*options: str) -> dict[str, float]:
        data = [part for split in ("train", "validation", "test") for part in (f"--{split}_dir", paths[split])]
        common = ["--hidden_sizes", "8", "8", "--depths", "1", "1", "--output_dir", str(tmp_path / "out"), "--use_cpu"]
        common += [
            "--disable_tqdm",
            "True",
            "--max_steps",
            "2",
            "--per_device_train_batch_size",
            "8",
            "--imp_rounds",
            "1",
        ]
        return main([*common, *data, "--use_pad", "--imp_rounds", "1", "--do_train", "--do_eval", *options])

    return call


REFUSED = {
    "an optimizer that is not installed": ("--optim galore_adamw", "You need to install `galore_torch`"),
    "a schedule without its arguments": ("--lr_scheduler_type cosine_with_min_lr", "One of min_lr or min_lr_rate"),
    "reports of a library that is not installed": ("--report_to tensorboard", "requires tensorboard"),
    "the Hub without a network": ("--push_to_hub", "offline mode is enabled"),
    "noise on embeddings": ("--neftune_noise_alpha 5", "`get_input_embeddings` not auto"),
    "checkpointing that the model has not": ("--activation_checkpointing", "does not support activation checkpointing"),
    "outputs that are not kept": ("--prediction_loss_only", "leaves out what is measured and predicted: leave it out"),
    "outputs that are not put together": ("--eval_do_concat_batches False", "leaves the outputs in batches"),
    "a metric that is not measured": ("--metric_for_best_model f1", "must be one of 'loss', 'accuracy'"),
    "no batch": ("--dataloader_drop_last --per_device_train_batch_size 64", "--dataloader_drop_last leaves no batch"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused_is_one_error_before_the_partition(
    case: str, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options, message = REFUSED[case]
    monkeypatch.delattr(rehearsal, "IMPCallback")
    with pytest.raises(PADNetError, match=message):
        run(*options.split())
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


def test_a_diverged_training_is_an_error(run: Run, tmp_path: Path) -> None:
    with pytest.raises(PADNetError, match=r"training diverged before step 6"):
        run("--learning_rate", "1e30", "--max_grad_norm", "0", "--max_steps", "6")
    assert not (tmp_path / "out" / "README.md").exists()
    assert not (tmp_path / "out" / "model.safetensors").exists()


@pytest.mark.parametrize("option", ["--bf16_full_eval", "--dataloader_drop_last --per_device_eval_batch_size 7"])
def test_evaluation_is_of_all_images_and_leaves_the_weights(option: str, run: Run, tmp_path: Path) -> None:
    metrics = run(*option.split(), "--do_predict")
    assert metrics["eval_samples"] == 16
    assert metrics["eval_accuracy"] * 16 == pytest.approx(round(metrics["eval_accuracy"] * 16))
    assert len(next((tmp_path / "out").glob("predict_results_*.txt")).read_text().splitlines()) == 17
    with safe_open(tmp_path / "out" / "model.safetensors", framework="pt") as file:
        kinds = {file.get_slice(name).get_dtype() for name in file.keys()}  # noqa: SIM118
    assert kinds <= {"F32", "U8", "I64"}
