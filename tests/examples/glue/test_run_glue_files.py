"""Your own files in whole runs: what is read is said, what cannot be read is one error, and nothing is written."""

import json
import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from padnet_hf import PADNetError

Files = Callable[..., dict[str, str]]
Run = Callable[..., dict[str, float]]

VARIANTS = {"dense": [], "partitioned": ["--use_pad", "--num_experts", "2"]}


def own(paths: dict[str, str], *splits: str) -> list[str]:
    return [part for split in splits for part in (f"--{split}_file", paths[split])]


@pytest.mark.parametrize("variant", ["dense", "partitioned"])
def test_the_columns_that_were_read_stand_in_log_card_and_run_config(
    variant: str, run: Run, files: Files, reviews, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    table = reviews.rename(columns={"text": "comment"}).assign(label_text=reviews["label"], idx=range(8))
    with caplog.at_level(logging.INFO):
        run(*VARIANTS[variant], *own({"train": files(train=table)["train"]}, "train"), "--do_train", "--max_steps", "1")
    said = "input 'comment', label 'label'; not read: 'label_text', 'idx'"
    assert f"columns: {said}; 2 classes: 'bad', 'good'" in caplog.text
    assert f"Columns read: {said}." in (tmp_path / "out" / "README.md").read_text()
    assert json.loads((tmp_path / "out" / "run_config.json").read_text())["columns"] == {
        "inputs": ["comment"],
        "label": "label",
        "left_out": ["label_text", "idx"],
    }


@pytest.mark.parametrize("labels", [[-1] * 8, ["good"] * 7 + ["superb"]])
def test_a_test_file_that_cannot_be_measured_is_predicted_all_the_same(
    labels: list, run: Run, files: Files, reviews, tmp_path: Path
) -> None:
    paths = files(test=reviews.assign(label=labels))
    trained = run(*own(paths, "train", "test"), "--do_train", "--do_predict", "--max_steps", "1")
    lines = (tmp_path / "out" / "predict_results_files.txt").read_text()
    alone = run("--model_name_or_path", str(tmp_path / "out"), *own(paths, "test"), "--do_predict")
    assert (tmp_path / "out" / "predict_results_files.txt").read_text() == lines
    assert len(lines.splitlines()) == 9
    assert not any("accuracy" in name for name in (*trained, *alone))


BAD_TABLES = {
    "no label column": (lambda rows: {"train": rows[["text"]]}, r"train\.csv has no column 'label': it has 'text'"),
    "no text column": (lambda rows: {"train": rows[["label"]]}, r"train\.csv has 0 columns of text.*it has 'label'"),
    "other text column later": (
        lambda rows: {"validation": rows.rename(columns={"text": "body"})},
        r"validation\.csv has no column 'text': it has 'body', 'label'; name another with --text_column",
    ),
    "unknown label": (
        lambda rows: {"validation": rows.assign(label="so-so")},
        r"validation\.csv has the label 'so-so', but the known labels are 'bad', 'good'",
    ),
    "empty": (lambda rows: {"validation": rows[:0]}, r"validation\.csv' is empty: it needs at least 1 row"),
    "one label": (lambda rows: {"train": rows.assign(label="good")}, "only the label 'good'.*at least 2"),
}


@pytest.mark.parametrize("case", BAD_TABLES)
def test_bad_data_is_one_error_and_nothing_is_written(
    case: str, run: Run, files: Files, reviews, tmp_path: Path
) -> None:
    tables, message = BAD_TABLES[case]
    paths = files(**tables(reviews))
    with pytest.raises(PADNetError, match=message):
        run("--use_pad", "--do_train", "--do_eval", *own(paths, "train", "validation"))
    assert not (tmp_path / "out").exists()
