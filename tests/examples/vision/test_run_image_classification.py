import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoImageProcessor, AutoModelForImageClassification, pipeline

import run_image_classification
from padnet_hf import PADNetError
from padnet_hf.models.registry import image_processor_class
from pixels import resize_to
from run_image_classification import main
from tests.models.samples import small_dense

Folders = Callable[..., dict[str, str]]
Run = Callable[..., dict[str, float]]

NARROW = ["--hidden_sizes", "8", "16", "--depths", "1", "1"]


def own(paths: dict[str, str], *splits: str) -> list[str]:
    return [part for split in splits for part in (f"--{split}_dir", paths[split])]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """main() into the folder `out`, quiet and small; later options win."""

    def call(*options: str) -> dict[str, float]:
        common = ["--output_dir", str(tmp_path / "out"), "--cache_dir", str(tmp_path / "cache"), "--use_cpu"]
        common += ["--per_device_train_batch_size", "4", "--imp_batches", "2"] if "--use_pad" in options else []
        return main([*common, "--disable_tqdm", "True", *options])

    return call


# A whole run


VARIANTS = {
    "static": [],
    "fully dynamic": ["--use_dynamic", "--num_kernels", "2"],
    "partitioned": ["--use_pad", "--num_kernels", "2"],
    "partitioned by units": ["--use_pad", "--num_kernels", "2", "--granularity", "unit"],
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_one_script_gives_every_network(
    variant: str, run: Run, folders: Folders, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = folders(count=4)
    options = [*NARROW, *own(paths, "train", "validation", "test"), "--do_train", "--do_eval", "--do_predict"]
    metrics = run(*VARIANTS[variant], *options, "--num_train_epochs", "2")
    out = tmp_path / "out"
    is_partitioned = variant.startswith("partitioned")
    assert (out / "partition.png").exists() == is_partitioned
    assert (out / "partition_report.json").exists() == (variant != "static")
    assert metrics.items() <= json.loads((out / "all_results.json").read_text()).items()
    classes = json.loads((out / "per_class_accuracy.json").read_text())
    assert {name: values["images"] for name, values in classes.items()} == {"dark": 4, "light": 4}
    assert np.mean([values["accuracy"] for values in classes.values()]) == pytest.approx(metrics["eval_accuracy"])
    assert (out / "confusion_matrix.png").stat().st_size > 5_000
    printed = capsys.readouterr().out
    assert "multiply-adds" in printed
    assert "per image" in printed
    assert re.search(rf"{variant.split(' by ')[0]} +[\d,]+ +[\d,]+ +[\d,]+ +accuracy", printed)
    assert printed.rstrip().endswith(f"AutoModelForImageClassification.from_pretrained({str(out)!r})")

    model = AutoModelForImageClassification.from_pretrained(out)
    assert model.is_partitioned == is_partitioned
    assert model.config.id2label == {0: "dark", 1: "light"}
    assert model.config.temperature == 1.0
    lines = (out / "predict_results_folders.txt").read_text().splitlines()
    assert lines[0] == "image\tprediction"
    files, answers = zip(*(line.split("\t") for line in lines[1:]), strict=True)
    assert files[0] == str(Path(paths["test"], "dark", "0.png"))
    classify = pipeline("image-classification", model=str(out), device="cpu")
    assert tuple(found[0]["label"] for found in classify(list(files), batch_size=3)) == answers


def test_report_and_config_agree_on_what_is_dynamic(run: Run, folders: Folders, tmp_path: Path) -> None:
    run(*VARIANTS["partitioned"], *NARROW, *own(folders(), "train"), "--do_train", "--max_steps", "1")
    report = json.loads((tmp_path / "out" / "partition_report.json").read_text())
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert report["dynamic_ratio"] == pytest.approx(0.3, abs=1e-3)
    assert report["record"]["mask_hash"] == config["partition"]["mask_hash"]


def test_parquet_with_mixup_and_smoothing_keeps_a_plain_evaluation_loss(
    run: Run, parquet: Callable[..., str], tmp_path: Path
) -> None:
    options = ["--data_dir", parquet(), *NARROW, "--mixup_alpha", "0.4", "--label_smoothing_factor", "0.2"]
    metrics = run(*options, "--do_train", "--do_eval", "--do_predict", "--max_steps", "3")
    assert {"eval_accuracy", "predict_accuracy"} <= set(metrics)
    out = str(tmp_path / "out")
    columns = {"inputs": ["img"], "label": "label", "left_out": []}
    assert json.loads(Path(out, "run_config.json").read_text())["columns"] == columns
    assert "Columns read: input 'img', label 'label'." in Path(out, "README.md").read_text()
    again = run("--model_name_or_path", out, "--data_dir", options[1], "--do_eval")
    assert again["eval_loss"] == pytest.approx(metrics["eval_loss"], rel=1e-5)


def test_a_stock_model_is_upcycled_and_trained(run: Run, folders: Folders, tiny_resnet: str, tmp_path: Path) -> None:
    options = [*own(folders(), "train", "validation"), "--model_name_or_path", tiny_resnet, "--max_steps", "2"]
    run("--use_pad", *options, "--do_train", "--do_eval")
    model = AutoModelForImageClassification.from_pretrained(tmp_path / "out")
    assert model.is_partitioned
    assert AutoImageProcessor.from_pretrained(tmp_path / "out").crop_pct == 0.875
    run(*options, "--do_train", "--do_eval", "--overwrite_output_dir")
    assert type(AutoModelForImageClassification.from_pretrained(tmp_path / "out")).__name__.startswith("ResNet")


@pytest.mark.parametrize("dense", ["vit", "mobilenet_v2"])
def test_every_family_of_images_is_upcycled_partitioned_trained_and_loaded(
    dense: str, run: Run, folders: Folders, tmp_path: Path
) -> None:
    model = small_dense(dense, "AutoModelForImageClassification")
    model.save_pretrained(tmp_path / dense)
    processor = image_processor_class(dense)()
    resize_to(processor, model.config.image_size)
    processor.save_pretrained(tmp_path / dense)
    copies = ["--num_experts", "4"] if dense == "vit" else ["--num_kernels", "2"]
    options = [
        "--model_name_or_path",
        str(tmp_path / dense),
        "--max_steps",
        "2",
        *own(folders(), "train", "validation"),
    ]
    metrics = run("--use_pad", *copies, "--granularity", "unit", *options, "--do_train", "--do_eval")
    loaded = AutoModelForImageClassification.from_pretrained(tmp_path / "out")
    assert (loaded.config.model_type, loaded.is_partitioned) == (f"pad_{dense}", True)
    again = run("--model_name_or_path", str(tmp_path / "out"), "--do_eval", *options[-2:])
    assert again["eval_loss"] == pytest.approx(metrics["eval_loss"], rel=1e-5)


def test_a_trained_folder_can_be_used_without_training_data(run: Run, folders: Folders, tmp_path: Path) -> None:
    paths, out = folders(), str(tmp_path / "out")
    options = [*VARIANTS["partitioned"], *NARROW, *own(paths, "train", "validation")]
    trained = run(*options, "--do_train", "--do_eval", "--max_steps", "2")
    before = {path.name: path.stat().st_mtime_ns for path in Path(out).glob("*.safetensors")}
    Path(paths["test"], "dark").rename(Path(paths["test"], "dusk"))
    other = run("--model_name_or_path", out, *own(paths, "test"), "--do_predict")
    assert (other["predict_samples"], "predict_accuracy" in other) == (16, False)
    Path(paths["test"], "dusk").rename(Path(paths["test"], "dark"))
    again = run("--model_name_or_path", out, *own(paths, "validation", "test"), "--do_eval", "--do_predict")
    assert again["eval_loss"] == pytest.approx(trained["eval_loss"], rel=1e-5)
    assert "predict_accuracy" in again
    assert before == {path.name: path.stat().st_mtime_ns for path in Path(out).glob("*.safetensors")}


# Resuming


@pytest.mark.parametrize("variant", VARIANTS)
def test_interrupted_and_resumed_training_equals_uninterrupted_training(
    variant: str, run: Run, folders: Folders, tmp_path: Path
) -> None:
    options = [*VARIANTS[variant], *NARROW, *own(folders(), "train"), "--do_train", "--max_steps", "6"]
    options += ["--save_steps", "2", "--mixup_alpha", "0.4", "--per_device_train_batch_size", "4"]
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    run(*options, "--output_dir", str(whole))
    run(*options, "--output_dir", str(parts))
    for path in parts.glob("checkpoint-[46]"):  # what a run stopped in the middle of step 4's saving leaves
        (path / "trainer_state.json").unlink()
    run(*options, "--output_dir", str(parts), "--resume_from_checkpoint", "last")
    first, second = (AutoModelForImageClassification.from_pretrained(folder) for folder in (whole, parts))
    assert first.config.temperature == second.config.temperature
    torch.testing.assert_close(first.state_dict(), second.state_dict(), rtol=0, atol=0)


def test_another_ratio_or_network_is_not_resumed(run: Run, folders: Folders, tmp_path: Path) -> None:
    options = [*NARROW, *own(folders(), "train"), "--do_train", "--max_steps", "2", "--save_steps", "1"]
    run(*VARIANTS["partitioned"], *options)
    resumed = [*options, "--resume_from_checkpoint", "last"]
    with pytest.raises(PADNetError, match=r"--dynamic_ratio is 0\.25, but .*checkpoint-2 was trained with 0\.3"):
        run(*VARIANTS["partitioned"], *resumed, "--dynamic_ratio", "0.25")
    with pytest.raises(PADNetError, match=r"--mixup_alpha is 0\.1"):
        run(*VARIANTS["partitioned"], *resumed, "--mixup_alpha", "0.1")
    (tmp_path / "out" / "run_config.json").unlink()
    with pytest.raises(PADNetError, match="is partitioned, but asked for is fully dynamic"):
        run(*VARIANTS["fully dynamic"], *resumed)


# Bad input


BAD_OPTIONS = {
    "ratio above one": (["--use_pad", "--dynamic_ratio", "1.5"], r"dynamic_ratio is 1\.5.*from 0"),
    "both networks": (["--use_pad", "--use_dynamic"], "--use_pad and --use_dynamic exclude each other"),
    "no kernels": (["--use_dynamic", "--num_kernels", "0"], "num_kernels is 0, but must be at least 1"),
    "unknown attention": (["--use_dynamic", "--attention", "luck"], "'luck'.*softmax"),
    "cold attention": (["--use_dynamic", "--temperature_final", "0"], "temperature"),
    "no such data set": (["--dataset_name", "no/such-data"], "'no/such-data'.*--data_dir FOLDER.*--train_dir FOLDER"),
    "no such folder": (["--train_dir", "nowhere"], "--train_dir nowhere is not a folder"),
    "no such model": (["--model_name_or_path", "no/such-model"], "'no/such-model'.*--model_name_or_path FOLDER"),
    "nothing to resume": (["--resume_from_checkpoint", "last"], "no complete checkpoint.*--overwrite_output_dir"),
    "predicting the digits": (["--do_predict"], "digits has no test split"),
    "stages that do not fit": (
        ["--depths", "1", "1"],
        r"hidden_sizes is \[32, 64, 128\], but must be one number for each stage of depths",
    ),
}


@pytest.mark.parametrize("case", BAD_OPTIONS)
def test_bad_options_are_one_error_and_nothing_is_written(case: str, run: Run, tmp_path: Path) -> None:
    options, message = BAD_OPTIONS[case]
    with pytest.raises(PADNetError, match=message):
        run("--do_train", "--max_train_samples", "20", *options)
    assert not (tmp_path / "out").exists()


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:100])


BAD_FILES = {
    "truncated": (cut, r"'?.*7\.png'? is not a readable image.*--skip_unreadable"),
    "no image": (lambda path: path.write_text("x"), r"7\.png is not a readable image"),
    "grey": (lambda path: Image.new("L", (12, 12)).save(path), r"7\.png has 1 channel \(grey\).*--convert_channels"),
    "transparent": (lambda path: Image.new("RGBA", (12, 12)).save(path), r"7\.png has 4 channels .*takes 3 \(RGB\)"),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_a_bad_image_is_one_error_before_anything_is_trained(
    case: str, run: Run, folders: Folders, tmp_path: Path
) -> None:
    spoil, message = BAD_FILES[case]
    paths = folders()
    spoil(Path(paths["validation"], "light", "7.png"))
    options = ["--use_pad", *NARROW, *own(paths, "train", "validation"), "--do_train", "--do_eval", "--max_steps", "1"]
    with pytest.raises(PADNetError, match=message):
        run(*options)
    assert not (tmp_path / "out").exists()
    remedy = "--skip_unreadable" if "readable" in message else "--convert_channels"
    metrics = run(*options, remedy)
    assert metrics["eval_samples"] == (15 if remedy == "--skip_unreadable" else 16)


def test_images_without_labels_are_one_error(run: Run, folders: Folders, tmp_path: Path) -> None:
    paths = folders(count=2)
    Path(paths["train"], "dark", "0.png").rename(Path(paths["train"], "stray.png"))
    with pytest.raises(PADNetError, match=r"the label of '.*stray\.png' is missing"):
        run(*NARROW, *own(paths, "train"), "--do_train")
    assert not (tmp_path / "out").exists()


def test_other_results_are_left_alone(run: Run, folders: Folders, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "config.json").write_text("mine")
    options = ["--do_train", *NARROW, *own(folders(count=1), "train")]
    with pytest.raises(PADNetError, match="holds other results: add --overwrite_output_dir"):
        run(*options)
    with pytest.raises(PADNetError, match=r"no run_config\.json.*: give another folder"):
        run(*options, "--overwrite_output_dir")
    assert (tmp_path / "out" / "config.json").read_text() == "mine"


def test_a_partition_that_fails_leaves_the_folder_empty(
    run: Run, folders: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = run_image_classification.build_model

    def poisoned(*args: object) -> torch.nn.Module:
        model = build(*args)
        torch.nn.init.constant_(model.classifier[1].weight, float("nan"))
        return model

    monkeypatch.setattr(run_image_classification, "build_model", poisoned)
    with pytest.raises(PADNetError, match="finite"):
        run("--use_pad", *NARROW, *own(folders(), "train"), "--do_train")
    assert not (tmp_path / "out").exists() or list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("steps", ["0", "2"])
def test_a_late_partition_recovers_at_the_temperature_that_training_ended_with(
    steps: str, run: Run, folders: Folders, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = [*NARROW, *own(folders(count=4), "train", "validation"), "--use_pad", "--num_kernels", "2", "--do_train"]
    options += ["--do_eval", "--max_steps", "4", "--temperature_final", "2.5", "--partition_when", "after"]
    run(*options, "--recovery_steps", steps)
    printed = capsys.readouterr().out.split("What this run made")[-1]
    assert all(re.search(rf"{name} +[\d,]+ +[\d,]+ +[\d,]+ +accuracy", printed) for name in ("dynamic", "partitioned"))
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["temperature"] == json.loads((tmp_path / "out/trained/config.json").read_text())["temperature"] == 2.5
    assert (config["partition"]["criterion"], config["partition"]["static_values"]) == ("fisher", "fisher")
