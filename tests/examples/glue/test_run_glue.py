import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, GPT2Config, pipeline

import run_glue
from embedded import embedded_model
from glue_arguments import DataArguments
from glue_data import TextData
from glue_tasks import TASKS
from padnet_hf import PADNetError
from run_glue import limited
from tests.models.samples import MIXTURES, MODELS, siblings_later, small_dense

SEQUENCES = "AutoModelForSequenceClassification"
Files = Callable[..., dict[str, str]]
Run = Callable[..., dict[str, float]]


def own(paths: dict[str, str], *splits: str) -> list[str]:
    return [part for split in splits for part in (f"--{split}_file", paths[split])]


# A whole run


VARIANTS = {
    "dense": [],
    "fully dynamic": ["--use_moe", "--num_experts", "4"],
    "partitioned": ["--use_pad", "--num_experts", "4", "--dynamic_ratio", "0.5"],
    "partitioned by units": ["--use_pad", "--num_experts", "4", "--granularity", "unit"],
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_one_script_gives_every_network(
    variant: str, run: Run, files: Files, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = own(files(), "train", "validation", "test")
    metrics = run(*VARIANTS[variant], *options, "--do_train", "--do_eval", "--do_predict", "--num_train_epochs", "2")
    out = tmp_path / "out"
    is_partitioned = variant.startswith("partitioned")
    assert (out / "partition.png").exists() == is_partitioned
    assert (out / "partition_report.json").exists() == (variant != "dense")
    assert 0 <= metrics["eval_accuracy"] <= 1
    assert metrics.items() <= json.loads((out / "all_results.json").read_text()).items()
    lines = (out / "predict_results_files.txt").read_text().splitlines()
    assert lines[0] == "index\tprediction"
    assert [re.fullmatch(r"\d\t(good|bad)", line) is not None for line in lines[1:]] == [True] * 8
    asked = json.loads((out / "run_config.json").read_text())["options"]
    assert (asked["use_pad"], asked.get("dynamic_ratio")) == (is_partitioned, 0.5 if is_partitioned else None)
    printed = capsys.readouterr().out
    assert re.search(rf"{variant.split(' by ')[0]} +[\d,]+ +[\d,]+ +[\d,]+ +accuracy", printed)
    assert printed.rstrip().endswith(f"AutoModelForSequenceClassification.from_pretrained({str(out)!r})")

    model = AutoModelForSequenceClassification.from_pretrained(out)
    assert getattr(model, "is_partitioned", False) == is_partitioned
    assert model.config.id2label == {0: "bad", 1: "good"}
    classify = pipeline("text-classification", model=model, tokenizer=AutoTokenizer.from_pretrained(out), device="cpu")
    texts = pd.read_csv(files()["test"])["text"].tolist()
    assert [f"{index}\t{answer['label']}" for index, answer in enumerate(classify(texts))] == lines[1:]


def test_report_and_config_agree_on_what_is_dynamic(run: Run, files: Files, tmp_path: Path) -> None:
    run(*VARIANTS["partitioned"], *own(files(), "train"), "--do_train", "--max_steps", "1")
    report = json.loads((tmp_path / "out" / "partition_report.json").read_text())
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert report["dynamic_ratio"] == pytest.approx(0.5, abs=1e-3)
    assert report["record"]["mask_hash"] == config["partition"]["mask_hash"]
    assert len(report["layers"]) == 2


LATE = ["--use_pad", "--num_experts", "4", "--partition_when", "after", "--imp_batches", "2", "--do_train", "--do_eval"]


def test_a_late_partition_shows_both_networks_and_goes_on_where_it_was_killed(
    run: Run, files: Files, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = [*own(files(), "train", "validation"), *LATE, "--max_steps", "4", "--recovery_steps", "2"]
    options += ["--learning_rate", "0.01", "--save_strategy", "steps", "--save_steps", "2"]
    run(*options)
    printed = capsys.readouterr().out.split("What this run made")[-1]
    assert all(re.search(rf"{name} +[\d,]+ +[\d,]+ +[\d,]+ +accuracy", printed) for name in ("dynamic", "partitioned"))
    out, record = tmp_path / "out", json.loads((tmp_path / "out" / "config.json").read_text())["partition"]
    assert (record["criterion"], record["static_values"]) == ("fisher", "fisher")
    done = (out / "model.safetensors").read_bytes()

    for path in (out / "checkpoint-2", out / "trained" / "checkpoint-4"):
        shutil.rmtree(path)
    (out / "trained" / "train_results.json").unlink()  # as if killed while the first network was trained
    run(*options, "--resume_from_checkpoint", "last")
    assert (out / "model.safetensors").read_bytes() == done
    (out / "model.safetensors").unlink()  # as if killed in recovery
    run(*options, "--resume_from_checkpoint", "last")
    assert (out / "model.safetensors").read_bytes() == done


def test_a_late_partition_needs_no_recovery(run: Run, files: Files, tmp_path: Path) -> None:
    run(*own(files(), "train", "validation", "test"), *LATE, "--max_steps", "2", "--do_predict")
    assert (tmp_path / "out" / "predict_results_files.txt").exists()
    assert not (tmp_path / "out" / "trained" / "predict_results_files.txt").exists()
    assert AutoModelForSequenceClassification.from_pretrained(tmp_path / "out").is_partitioned
    assert not AutoModelForSequenceClassification.from_pretrained(tmp_path / "out" / "trained").is_partitioned


def glue_folder(folder: Path, task_name: str) -> Path:
    task = TASKS[task_name]
    rows = 6
    texts = {column: [f"{column} of row {row}" for row in range(rows)] for column in task.text_columns}
    labels = (
        [row / 2 for row in range(rows)] if task.is_regression else [row % len(task.label_names) for row in range(rows)]
    )
    table = pd.DataFrame({**texts, "label": labels, "idx": range(rows)})
    (folder / task_name).mkdir()
    for split in ("train", *task.eval_splits):
        table.to_parquet(folder / task_name / f"{split}-00000-of-00001.parquet")
    for split in task.test_splits:
        table.assign(label=-1).to_parquet(folder / task_name / f"{split}-00000-of-00001.parquet")
    return folder


@pytest.mark.parametrize("task", TASKS)
def test_every_glue_task_trains_evaluates_and_predicts(task: str, run: Run, tmp_path: Path) -> None:
    options = ["--task_name", task, "--data_dir", str(glue_folder(tmp_path, task))]
    metrics = run(
        "--use_pad", "--num_experts", "2", *options, "--do_train", "--do_eval", "--do_predict", "--max_steps", "2"
    )
    measured = {name.removeprefix("eval_") for name in metrics if name.startswith("eval_")}
    expected = {
        "cola": {"matthews_correlation"},
        "mrpc": {"accuracy", "f1", "combined_score"},
        "qqp": {"accuracy", "f1", "combined_score"},
        "stsb": {"pearson", "spearmanr", "combined_score"},
        "mnli": {"accuracy", "mm_accuracy"},
    }.get(task, {"accuracy"})
    assert expected <= measured
    assert not (measured - expected) & {"accuracy", "f1", "pearson", "matthews_correlation"}
    predictions = {path.name: path.read_text().splitlines() for path in (tmp_path / "out").glob("predict_results_*")}
    suffixes = ("", "-mm") if task == "mnli" else ("",)
    assert set(predictions) == {f"predict_results_{task}{suffix}.txt" for suffix in suffixes}
    for lines in predictions.values():
        values = [line.split("\t")[1] for line in lines[1:]]
        assert len(values) == 6
        if task == "stsb":
            assert all(re.fullmatch(r"-?\d+\.\d{3}", value) for value in values)
        else:
            assert set(values) <= set(TASKS[task].label_names)


def test_f1_counts_the_tasks_label_whatever_number_the_model_gives_it(run: Run, tmp_path: Path) -> None:
    data = ["--task_name", "mrpc", "--data_dir", str(glue_folder(tmp_path, "mrpc"))]
    run(*data, "--do_train", "--max_steps", "1")
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "out")
    with torch.no_grad():
        model.classifier.weight.zero_()
        model.classifier.bias.copy_(torch.tensor([0.0, 1.0]))  # always number 1
    f1 = {}
    for names in (("not_equivalent", "equivalent"), ("equivalent", "not_equivalent")):
        model.config.id2label = dict(enumerate(names))
        model.config.label2id = {name: number for number, name in enumerate(names)}
        folder = str(tmp_path / names[1])
        model.save_pretrained(folder)
        AutoTokenizer.from_pretrained(tmp_path / "out").save_pretrained(folder)
        f1[names[1]] = run(*data, "--do_eval", "--model_name_or_path", folder)["eval_f1"]
    assert f1 == {"equivalent": pytest.approx(2 / 3), "not_equivalent": 0.0}


def test_own_scores_are_a_regression(run: Run, files: Files, reviews: pd.DataFrame, tmp_path: Path) -> None:
    scored = reviews.assign(label=[number + 0.5 for number in range(8)])
    paths = files(train=scored, validation=scored, test=reviews[["text"]])
    options = own(paths, "train", "validation", "test")
    metrics = run("--use_moe", *options, "--do_train", "--do_eval", "--do_predict", "--max_steps", "2")
    assert {"eval_pearson", "eval_spearmanr"} <= set(metrics)
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "out")
    assert (model.config.num_labels, model.config.problem_type) == (1, "regression")

    whole = own(files(validation=reviews.assign(label=list(range(8)))), "validation")
    out = str(tmp_path / "out")
    assert "eval_pearson" in run("--model_name_or_path", out, *whole, "--do_eval")
    with pytest.raises(PADNetError, match="the label 'good', but a regression needs numbers"):
        run("--model_name_or_path", out, *own(files(), "validation"), "--do_eval")


def test_a_trained_folder_can_be_used_without_training_data(run: Run, files: Files, reviews, tmp_path: Path) -> None:
    paths, out = files(), str(tmp_path / "out")
    trained = run(
        *VARIANTS["partitioned"], *own(paths, "train", "validation"), "--do_train", "--do_eval", "--max_steps", "2"
    )
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*.safetensors")}
    again = run("--model_name_or_path", out, *own(paths, "validation", "test"), "--do_eval", "--do_predict")
    scores = own(files(validation=reviews.assign(label=0.5)), "validation")
    with pytest.raises(PADNetError, match=r"the label '0\.5', but the known labels are 'bad', 'good'"):
        run("--model_name_or_path", out, *scores, "--do_eval")
    assert again["eval_accuracy"] == trained["eval_accuracy"]
    assert again["eval_loss"] == pytest.approx(trained["eval_loss"])
    assert "predict_accuracy" in again
    assert before == {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*.safetensors")}


def test_a_partition_without_training_is_saved_too(run: Run, files: Files, tmp_path: Path) -> None:
    run(*VARIANTS["partitioned"], *own(files(), "train", "validation"), "--do_eval")
    assert AutoModelForSequenceClassification.from_pretrained(tmp_path / "out").is_partitioned


# Resuming


@pytest.mark.parametrize("variant", ["dense", "fully dynamic", "partitioned", "partitioned by units"])
def test_interrupted_and_resumed_training_equals_uninterrupted_training(
    variant: str, run: Run, files: Files, tmp_path: Path
) -> None:
    options = [*VARIANTS[variant], *own(files(), "train"), "--do_train", "--max_steps", "6", "--save_steps", "2"]
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    run(*options, "--output_dir", str(whole))
    run(*options, "--output_dir", str(parts))
    for path in parts.glob("checkpoint-[46]"):  # what a run stopped in the middle of step 4's saving leaves
        (path / "trainer_state.json").unlink()
    run(*options, "--output_dir", str(parts), "--resume_from_checkpoint", "last")
    first, second = (
        AutoModelForSequenceClassification.from_pretrained(folder).state_dict() for folder in (whole, parts)
    )
    torch.testing.assert_close(first, second, rtol=0, atol=0)


def test_another_ratio_or_network_is_not_resumed(run: Run, files: Files, tmp_path: Path) -> None:
    options = [*own(files(), "train"), "--do_train", "--max_steps", "2", "--save_steps", "1"]
    run(*VARIANTS["partitioned"], *options)
    resumed = [*options, "--resume_from_checkpoint", "last"]
    with pytest.raises(PADNetError, match=r"--dynamic_ratio is 0\.25, but .*checkpoint-2 was trained with 0\.5"):
        run(*VARIANTS["partitioned"], *resumed, "--dynamic_ratio", "0.25")
    with pytest.raises(PADNetError, match=r"--use_pad is False, but .* was trained with True"):
        run(*resumed)
    with pytest.raises(PADNetError, match=r"--learning_rate is 0\.1"):
        run(*VARIANTS["partitioned"], *resumed, "--learning_rate", "0.1")
    (tmp_path / "out" / "run_config.json").unlink()
    with pytest.raises(PADNetError, match="is partitioned, but asked for is fully dynamic"):
        run(*VARIANTS["fully dynamic"], *resumed)


def test_an_earlier_run_is_replaced_only_when_asked(run: Run, files: Files, tmp_path: Path) -> None:
    options = [*own(files(), "train"), "--do_train", "--max_steps", "1", "--save_steps", "1"]
    run(*VARIANTS["partitioned"], *options)
    with pytest.raises(
        PADNetError, match=r"holds other results: add --overwrite_output_dir .* --resume_from_checkpoint last"
    ):
        run(*options)
    run(*options, "--overwrite_output_dir")
    assert not (tmp_path / "out" / "partition_report.json").exists()
    assert not AutoModelForSequenceClassification.from_pretrained(tmp_path / "out").config.to_dict().get("num_experts")


# Bad input


BAD_OPTIONS = {
    "unknown task": (["--task_name", "imdb"], "'imdb' is not a GLUE task: choose one of cola, mnli"),
    "ratio above one": (["--use_pad", "--dynamic_ratio", "1.5"], "dynamic_ratio is 1.5.*from 0"),
    "negative ratio": (["--use_pad", "--dynamic_ratio", "-0.1"], r"dynamic_ratio is -0\.1.*from 0"),
    "ratio not a number": (["--use_pad", "--dynamic_ratio", "nan"], "dynamic_ratio is nan.*from 0"),
    "both networks": (["--use_pad", "--use_moe"], "--use_pad and --use_moe exclude each other.*leave out"),
    "ratio of a dense network": (["--dynamic_ratio", "0.5"], r"--dynamic_ratio 0\.5 has no effect.*add --use_pad"),
    "experts of a dense network": (["--num_experts", "4"], "--num_experts 4 has no effect.*add --use_pad or --use_moe"),
    "rounds of a fully dynamic one": (
        ["--use_moe", "--imp_rounds", "3"],
        "--imp_rounds 3 has no effect.*add --use_pad",
    ),
    "too many experts per token": (["--use_moe", "--num_experts_per_tok", "9"], "num_experts_per_tok is 9.*from 1 to"),
    "no expert per token": (["--use_pad", "--num_experts_per_tok", "0"], "num_experts_per_tok is 0.*from 1 to"),
    "layer that is not there": (["--use_pad", "--moe_layers", "2"], r"moe_layers is \[2\].*from 0 to 1"),
    "unknown criterion": (["--use_pad", "--imp_criterion", "luck"], "criterion is 'luck'.*'snip'"),
    "unknown granularity": (["--use_pad", "--granularity", "bit"], "granularity.*'bit'.*element"),
    "unknown scope": (["--use_pad", "--imp_scope", "model"], "imp_scope.*'model'.*global"),
    "unknown option": (["--use_pda"], "unknown option '--use_pda'; --help"),
    "no examples": (["--max_train_samples", "0"], "--max_train_samples is 0, but must be at least 1"),
    "too long": (["--max_seq_length", "65"], "--max_seq_length is 65, but this model takes 8 to 64"),
    "predicting the embedded reviews": (["--do_predict"], "no split 'test', only train, validation.*--test_file"),
    "nothing to resume": (["--resume_from_checkpoint", "last"], "no complete checkpoint.*--overwrite_output_dir"),
    "resume and overwrite": (
        ["--resume_from_checkpoint", "last", "--overwrite_output_dir"],
        "--resume_from_checkpoint and --overwrite_output_dir exclude each other",
    ),
    "no such model": (["--model_name_or_path", "no/such-model"], "'no/such-model'.*--model_name_or_path FOLDER"),
    "no such task on this machine": (["--task_name", "rte"], "nyu-mll/glue.*cannot be loaded from the Hub.*--data_dir"),
    "no such folder": (["--task_name", "rte", "--data_dir", "nowhere"], "--data_dir nowhere is not a folder: give"),
    "other file type": (["--train_file", "reviews.xlsx"], r"'reviews\.xlsx'.*'\.xlsx'.*\.csv"),
}


@pytest.mark.parametrize("case", BAD_OPTIONS)
def test_bad_options_are_one_error_and_nothing_is_written(case: str, run: Run, tmp_path: Path) -> None:
    options, message = BAD_OPTIONS[case]
    with pytest.raises(PADNetError, match=message):
        run("--do_train", *options)
    assert list(tmp_path.iterdir()) == []


def test_nothing_to_do_is_said(run: Run) -> None:
    with pytest.raises(PADNetError, match="nothing to do: add --do_train, --do_eval or --do_predict"):
        run("--use_pad")


def test_resuming_without_training_is_said(run: Run) -> None:
    with pytest.raises(PADNetError, match="--resume_from_checkpoint last continues a training: add --do_train"):
        run("--do_eval", "--resume_from_checkpoint", "last")


def test_a_file_in_the_output_folders_place_is_left_alone(run: Run, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    with pytest.raises(PADNetError, match=r"--output_dir .*out is a file"):
        run("--do_train", "--overwrite_output_dir")
    assert (tmp_path / "out").read_text() == "mine"


def test_overwriting_spares_folders_that_hold_no_run(run: Run, files: Files, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "config.json").write_text("mine")
    with pytest.raises(PADNetError, match=r"no run_config\.json.*: give another folder"):
        run("--do_train", *own(files(), "train"), "--overwrite_output_dir")
    assert (tmp_path / "out" / "config.json").read_text() == "mine"


def test_a_model_without_a_family_stays_dense(run: Run, files: Files, tmp_path: Path) -> None:
    GPT2Config().save_pretrained(tmp_path / "gpt2")
    options = ["--model_name_or_path", str(tmp_path / "gpt2"), "--do_train", *own(files(), "train")]
    with pytest.raises(PADNetError, match="type 'gpt2' has no PAD model; dense models of type 'albert', 'bert', "):
        run("--use_pad", *options)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "dense", siblings_later(dense for dense, auto_class in MODELS if auto_class == SEQUENCES and dense != "bert")
)
def test_every_family_of_text_is_upcycled_partitioned_trained_and_loaded(
    dense: str, run: Run, files: Files, tiny_bert: str, tmp_path: Path
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_bert)
    small_dense(dense, SEQUENCES, vocab_size=len(tokenizer), pad_token_id=0).save_pretrained(tmp_path / dense)
    tokenizer.save_pretrained(tmp_path / dense)
    longest = ["--model_name_or_path", str(tmp_path / dense), "--max_seq_length", "16"]
    options = ["--dynamic_ratio", "0.5", "--granularity", "unit", "--max_steps", "2"]
    options += [] if dense in MIXTURES else ["--num_experts", "4"]
    metrics = run("--use_pad", *options, "--do_train", "--do_eval", *own(files(), "train", "validation"), *longest)
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path / "out")
    assert loaded.config.model_type == f"pad_{dense}"
    assert loaded.is_partitioned
    again = run("--do_eval", "--model_name_or_path", str(tmp_path / "out"), *own(files(), "validation"), *longest[2:])
    assert again["eval_loss"] == pytest.approx(metrics["eval_loss"], rel=1e-5)


def test_a_text_is_no_longer_than_the_positions_behind_padding(run: Run, files: Files, tmp_path: Path) -> None:
    small_dense("roberta", SEQUENCES).save_pretrained(tmp_path / "roberta")  # 22 positions, the first two not for words
    tokenizer = AutoTokenizer.from_pretrained(embedded_model())
    tokenizer.save_pretrained(tmp_path / "roberta")
    options = ["--model_name_or_path", str(tmp_path / "roberta"), "--max_seq_length", "21", "--do_train"]
    with pytest.raises(PADNetError, match="--max_seq_length is 21, but this model takes 8 to 20"):
        run("--use_pad", *options, *own(files(), "train"))


def test_a_partition_is_not_partitioned_again(run: Run, files: Files, tmp_path: Path) -> None:
    options = [*own(files(), "train"), "--do_train", "--max_steps", "1"]
    run(*VARIANTS["partitioned"], *options)
    with pytest.raises(PADNetError, match=r"partitioned already \(dynamic_ratio 0\.5\): leave out --use_pad"):
        run("--use_pad", *options, "--model_name_or_path", str(tmp_path / "out"), "--output_dir", str(tmp_path / "new"))
    assert not (tmp_path / "new").exists()


def test_a_partition_that_fails_leaves_the_folder_empty(
    run: Run, files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = run_glue.build_model

    def poisoned(*args: object) -> torch.nn.Module:
        model = build(*args)
        torch.nn.init.constant_(model.classifier.weight, float("nan"))
        return model

    monkeypatch.setattr(run_glue, "build_model", poisoned)
    with pytest.raises(PADNetError, match="finite"):
        run("--use_pad", *own(files(), "train"), "--do_train")
    assert not (tmp_path / "out").exists() or list((tmp_path / "out").iterdir()) == []


def test_limits_draw_always_the_same_rows_and_predict_the_first_ones(reviews: pd.DataFrame) -> None:
    data = TextData("reviews", "classification", dict.fromkeys(("train", "validation", "test"), reviews), ("a", "b"))
    limits = DataArguments(max_train_samples=3, max_eval_samples=4, max_predict_samples=5)
    taken = {split: list(limited(data, split, limits).index) for split in data.splits}
    assert taken == {split: list(limited(data, split, limits).index) for split in data.splits}
    assert {split: len(set(rows)) for split, rows in taken.items()} == {"train": 3, "validation": 4, "test": 5}
    assert taken["train"] != [0, 1, 2]
    assert taken["test"] == [0, 1, 2, 3, 4]
    more = DataArguments(max_train_samples=300)
    assert all(limited(data, split, more).equals(reviews) for split in data.splits)
