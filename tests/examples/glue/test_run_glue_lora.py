"""run_glue.py --lora: partition, then an adapter, in one command; what it leaves, loads and resumes."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch
from peft import AutoPeftModelForSequenceClassification
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer, PreTrainedModel, pipeline

from padnet_hf import PADNetError
from run_glue import main

Files = Callable[..., dict[str, str]]
Run = Callable[..., dict[str, float]]

UNIT = ("--use_pad", "--num_experts", "4", "--granularity", "unit")
LORA = ("--lora", "--lora_rank", "4", "--learning_rate", "1e-2")
SPARSE = (*LORA, "--adapter_sparsity", "0.75")
NETWORKS = {
    "unit": UNIT,
    "element": ("--use_pad", "--num_experts", "4"),
    "fully dynamic": ("--use_moe", "--num_experts", "4"),
    "dense": (),
}


@pytest.fixture
def run(tiny_bert: str, files: Files, tmp_path: Path) -> Run:
    """main() on the narrow BERT and the reviews, into the folder `out`; later options win."""
    paths = files()

    def call(*options: str) -> dict[str, float]:
        common = ["--model_name_or_path", tiny_bert, "--output_dir", str(tmp_path / "out"), "--max_seq_length", "32"]
        common += ["--train_file", paths["train"], "--validation_file", paths["validation"], "--use_cpu"]
        common += ["--per_device_train_batch_size", "4", "--do_train", "--num_train_epochs", "2"]
        return main([*common, "--disable_tqdm", "True", *options])

    return call


def answers(model: PreTrainedModel, folder: Path, reviews: pd.DataFrame) -> list[dict[str, object]]:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    return pipeline("text-classification", model=model, tokenizer=tokenizer, device="cpu")(reviews["text"].tolist())


@pytest.mark.parametrize("network", NETWORKS)
def test_one_command_leaves_a_base_and_an_adapter_that_one_line_loads(
    network: str, run: Run, tmp_path: Path, reviews: pd.DataFrame, capsys: pytest.CaptureFixture[str]
) -> None:
    metrics = run(*NETWORKS[network], *LORA, "--do_eval")
    out = tmp_path / "out"
    printed = capsys.readouterr().out
    assert printed.rstrip().endswith(f"AutoModelForSequenceClassification.from_pretrained({str(out)!r})")
    stored = (out / "adapter_model.safetensors").stat().st_size
    assert f"+ {metrics['train_parameters']:,}" in printed
    assert f"+ {stored:,}" in printed
    assert not (out / "model.safetensors").exists()
    assert f"base_model: {out / 'base'}" in (out / "README.md").read_text()
    assert metrics["train_parameters"] == sum(v.numel() for v in load_file(out / "adapter_model.safetensors").values())

    model = AutoModelForSequenceClassification.from_pretrained(out)
    base = AutoModelForSequenceClassification.from_pretrained(out / "base")
    assert model.config.id2label == base.config.id2label == {0: "bad", 1: "good"}
    assert getattr(base, "is_partitioned", False) == (network in ("unit", "element"))
    right = [answer["label"] for answer in answers(model, out, reviews)] == reviews["label"]
    assert right.mean() == metrics["eval_accuracy"]
    other = AutoPeftModelForSequenceClassification.from_pretrained(out)
    assert answers(other.eval(), out, reviews) == answers(model, out, reviews) != answers(base, out, reviews)


@pytest.mark.parametrize(
    ("network", "targets", "warns"),
    [("element", (), True), ("unit", ("--lora_targets", "attention"), True), ("unit", (), False), ("dense", (), False)],
)
def test_a_run_whose_copies_stay_equal_says_so(
    network: str, targets: tuple[str, ...], warns: bool, run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    run(*NETWORKS[network], *LORA, *targets, "--max_steps", "1")
    assert ("All copies of the dynamic layers are equal" in caplog.text) == warns


def test_the_base_is_what_the_partition_made(run: Run, tmp_path: Path) -> None:
    run(*UNIT, *LORA, "--max_steps", "1")
    run(*UNIT, "--max_steps", "1", "--learning_rate", "0", "--output_dir", str(tmp_path / "plain"))
    base = load_file(tmp_path / "out" / "base" / "model.safetensors")
    plain = load_file(tmp_path / "plain" / "model.safetensors")
    assert base.keys() == plain.keys()
    assert all(torch.equal(base[name], plain[name]) for name in base)
    report = json.loads((tmp_path / "out" / "partition_report.json").read_text())
    config = json.loads((tmp_path / "out" / "base" / "config.json").read_text())
    assert report["record"]["mask_hash"] == config["partition"]["mask_hash"]


@pytest.mark.parametrize("options", [LORA, SPARSE], ids=["LoRA", "sparse"])
def test_a_resumed_run_ends_bit_equal(options: tuple[str, ...], run: Run, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(*UNIT, *options, "--save_steps", "2")
    expected = load_file(out / "adapter_model.safetensors")
    shutil.rmtree(out / "checkpoint-4")
    (out / "adapter_model.safetensors").unlink()
    run(*UNIT, *options, "--save_steps", "2", "--resume_from_checkpoint", "last")
    found = load_file(out / "adapter_model.safetensors")
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in found)
    with pytest.raises(PADNetError, match=r"--lora_rank is 2, but .* was trained with 4"):
        run(*UNIT, *options, "--lora_rank", "2", "--resume_from_checkpoint", "last")


def test_of_a_sparse_adapter_exactly_the_share_is_trained(run: Run, tmp_path: Path) -> None:
    metrics = run(*UNIT, *SPARSE, "--weight_decay", "0.1")
    tensors = load_file(tmp_path / "out" / "adapter_model.safetensors")
    matrices = [values for name, values in tensors.items() if "lora_" in name]
    total = sum(values.numel() for values in matrices)
    pruned = sum(int(((values == 0) & values.signbit()).sum()) for values in matrices)
    assert pruned == 0.75 * total
    assert metrics["train_parameters"] == sum(values.numel() for values in tensors.values()) - pruned


def test_a_dynamic_model_that_is_there_already_stays_the_base(run: Run, tmp_path: Path) -> None:
    run(*UNIT, "--max_steps", "1", "--output_dir", str(tmp_path / "pad"))
    start = ("--model_name_or_path", str(tmp_path / "pad"), *LORA)
    run(*start, "--max_steps", "2", "--save_steps", "1")
    out = tmp_path / "out"
    assert not (out / "base").exists()
    assert json.loads((out / "adapter_config.json").read_text())["base_model_name_or_path"] == str(tmp_path / "pad")
    assert AutoModelForSequenceClassification.from_pretrained(out).is_partitioned
    shutil.rmtree(out / "checkpoint-2")
    run(*start, "--max_steps", "2", "--save_steps", "1", "--resume_from_checkpoint", "last")


def test_an_adapter_is_evaluated_like_a_model_and_not_trained_on(run: Run, tmp_path: Path, files: Files) -> None:
    metrics = run(*UNIT, *LORA, "--do_eval")
    out = str(tmp_path / "out")
    again = ["--model_name_or_path", out, "--validation_file", files()["validation"], "--use_cpu", "--do_eval"]
    found = main([*again, "--max_seq_length", "32", "--output_dir", str(tmp_path / "new")])
    assert found["eval_accuracy"] == metrics["eval_accuracy"]
    assert found["eval_loss"] == pytest.approx(metrics["eval_loss"], abs=1e-6)
    with pytest.raises(PADNetError, match=r"holds an adapter, which can be evaluated here.*merge_and_unload"):
        run("--model_name_or_path", out, "--output_dir", str(tmp_path / "newer"))


def test_a_later_run_replaces_base_and_adapter(run: Run, tmp_path: Path) -> None:
    run(*UNIT, *LORA, "--max_steps", "1")
    run(*UNIT, "--max_steps", "1", "--overwrite_output_dir")
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert "model.safetensors" in names
    assert not names & {"base", "adapter_config.json", "adapter_model.safetensors"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((*UNIT, *LORA, "--lora_targets", "q_proj"), r"'q_proj' matches nothing .*\(attention, experts, router\)"),
        ((*UNIT, *LORA, "--lora_rank", "17"), "rank is 17, but .* choose a rank of at most 16"),
        ((*LORA, "--lora_targets", "experts"), r"matches nothing .* groups \(attention, feed_forward\)"),
    ],
)
def test_mistakes_are_said_before_anything_is_written(
    options: tuple[str, ...], message: str, run: Run, tmp_path: Path
) -> None:
    with pytest.raises(PADNetError, match=message):
        run(*options)
    assert not (tmp_path / "out").exists()
