import logging
from collections.abc import Callable
from pathlib import Path

import datasets
import pandas as pd
import pytest

import glue_data
from glue_arguments import DataArguments
from glue_data import load_text_data, wanted_splits
from glue_tasks import TASKS, GlueTask
from padnet_hf import PADNetError

ROLES = ("train", "eval", "predict")


def glue_table(task: GlueTask, *, test: bool = False) -> pd.DataFrame:
    """Three rows as the Hub's data set has them: numbered labels, -1 in a test split, and an `idx`."""
    columns = {name: [f"{name} {row}" for row in range(3)] for name in task.text_columns}
    labels = [0.0, 2.5, 5.0] if task.is_regression else [number % len(task.label_names) for number in range(3)]
    return pd.DataFrame({**columns, "label": [-1] * 3 if test else labels, "idx": range(3)})


def write_glue(folder: Path, task: GlueTask) -> None:
    folder.mkdir(parents=True)
    for split in ("train", *task.eval_splits, *task.test_splits):
        glue_table(task, test=split in task.test_splits).to_parquet(folder / f"{split}-00000-of-00001.parquet")


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
@pytest.mark.parametrize("inside", [True, False], ids=["folder of tasks", "the task's own folder"])
def test_every_task_is_read_from_a_local_folder(task: GlueTask, inside: bool, tmp_path: Path) -> None:
    write_glue(tmp_path / task.name, task)
    folder = tmp_path if inside else tmp_path / task.name
    data = load_text_data(DataArguments(task_name=task.name.upper(), data_dir=str(folder)), ROLES)
    assert sorted(data.splits) == sorted(("train", *task.eval_splits, *task.test_splits))
    texts = ["text", "text_pair"][: len(task.text_columns)]
    assert list(data.splits["train"]) == [*texts, "label"]
    assert data.splits["train"][texts[-1]][1] == f"{task.text_columns[-1]} 1"
    labels = data.splits["train"]["label"].tolist()
    assert labels == (
        [0.0, 2.5, 5.0] if task.is_regression else [task.label_names[i % len(task.label_names)] for i in range(3)]
    )
    assert all(list(data.splits[split]) == texts for split in task.test_splits)
    assert data.is_regression == task.is_regression


def test_mnli_is_evaluated_and_predicted_on_both_its_splits() -> None:
    assert wanted_splits(TASKS["mnli"], ROLES) == [
        "train", "validation_matched", "validation_mismatched", "test_matched", "test_mismatched"
    ]  # fmt: skip


def test_a_task_folder_may_be_spelled_otherwise(tmp_path: Path) -> None:
    write_glue(tmp_path / "STS-B", TASKS["stsb"])
    assert len(load_text_data(DataArguments(task_name="stsb", data_dir=str(tmp_path)), ["train"]).splits["train"]) == 3


def test_the_hub_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    task = TASKS["mrpc"]
    hub = {split: datasets.Dataset.from_pandas(glue_table(task, test=split == "test")) for split in ("train", "test")}
    monkeypatch.setattr(glue_data, "load_dataset", lambda path, name, cache_dir: hub if name == "mrpc" else None)
    data = load_text_data(DataArguments(task_name="mrpc"), ["train", "predict"])
    assert data.splits["train"]["label"].tolist() == ["not_equivalent", "equivalent", "not_equivalent"]
    assert "label" not in data.splits["test"]


@pytest.mark.parametrize(
    "error", [ConnectionError("no route"), FileNotFoundError("not cached"), ValueError("no config")]
)
def test_an_unreachable_hub_names_the_option_for_local_files(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*args: object, **kwargs: object) -> None:
        raise error

    monkeypatch.setattr(glue_data, "load_dataset", unreachable)
    with pytest.raises(PADNetError, match=rf"nyu-mll/glue \(rte\).*{error}.*--data_dir FOLDER"):
        load_text_data(DataArguments(task_name="rte"), ["train"])


def test_a_split_that_is_not_there_is_named_with_what_is(tmp_path: Path) -> None:
    write_glue(tmp_path / "cola", TASKS["cola"])
    (tmp_path / "cola" / "test-00000-of-00001.parquet").unlink()
    arguments = DataArguments(task_name="cola", data_dir=str(tmp_path))
    with pytest.raises(PADNetError, match=r"no 'test' split of cola.*found train-00000.*validation-00000"):
        load_text_data(arguments, ["predict"])


def test_labels_outside_the_task_are_refused(tmp_path: Path) -> None:
    write_glue(tmp_path / "sst2", TASKS["sst2"])
    glue_table(TASKS["mnli"]).rename(columns={"premise": "sentence"}).to_parquet(
        tmp_path / "sst2" / "train-00000-of-00001.parquet"
    )
    with pytest.raises(PADNetError, match=r"split 'train' of sst2 has the label '2'.*'negative', 'positive'"):
        load_text_data(DataArguments(task_name="sst2", data_dir=str(tmp_path)), ["train"])


# Your own files


def own(paths: dict[str, str], **options: str) -> DataArguments:
    return DataArguments(**{f"{split}_file": path for split, path in paths.items()}, **options)


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".json", ".jsonl", ".parquet"])
def test_own_files_of_every_format(suffix: str, files: Callable[..., dict[str, str]], reviews: pd.DataFrame) -> None:
    data = load_text_data(own(files(suffix)), ROLES)
    assert data.label_names == ("bad", "good")
    assert not data.is_regression
    for split in ("train", "validation", "test"):
        assert data.splits[split].to_dict("records") == reviews.to_dict("records")


def test_whole_numbers_are_classes_in_numerical_order(
    files: Callable[..., dict[str, str]], reviews: pd.DataFrame
) -> None:
    numbered = reviews.assign(label=[10, 9, 2, 2, 2, 2, 2, 9])
    data = load_text_data(own(files(train=numbered, validation=numbered, test=numbered)), ROLES)
    assert data.label_names == ("2", "9", "10")


@pytest.mark.parametrize("suffix", [".csv", ".json", ".parquet"])
def test_floats_are_a_regression(suffix: str, files: Callable[..., dict[str, str]], reviews: pd.DataFrame) -> None:
    scored = reviews.assign(label=[number + 0.5 for number in range(8)])
    whole = reviews.assign(label=list(range(8)))
    data = load_text_data(own(files(suffix, train=scored, validation=whole, test=reviews[["text"]])), ROLES)
    assert data.is_regression
    assert data.label_names is None
    assert data.splits["train"]["label"].tolist() == [number + 0.5 for number in range(8)]
    assert data.splits["validation"]["label"].tolist() == [float(number) for number in range(8)]


def test_two_texts_and_another_label_column(files: Callable[..., dict[str, str]], reviews: pd.DataFrame) -> None:
    pairs = pd.DataFrame({"a": reviews["text"], "b": "and", "c": "x", "verdict": reviews["label"]})
    paths = files(train=pairs, validation=pairs, test=pairs)
    data = load_text_data(own(paths, text_column="a", text_pair_column="b", label_column="verdict"), ["train"])
    assert data.splits["train"].loc[0].to_dict() == {
        "text": "a warm and funny film",
        "text_pair": "and",
        "label": "good",
    }


def test_validation_labels_that_training_has_not_are_refused(files: Callable[..., dict[str, str]], reviews) -> None:
    strange = reviews.assign(label=["good"] * 7 + ["superb"])
    with pytest.raises(PADNetError, match=r"validation\.csv has the label 'superb'.*'bad', 'good'; correct row 8"):
        load_text_data(own(files(validation=strange)), ROLES)


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (["good"] * 7 + ["superb"], r"test.csv has the label 'superb'"),
        (["good"] * 7 + [""], "test.csv, row 8: column 'label' holds None"),
        ([-1] * 8, "test.csv has no labels in 'label'"),
        ([""] * 8, "test.csv has no labels in 'label'"),
    ],
)
def test_a_test_file_that_cannot_be_measured_is_predicted_all_the_same(
    labels: list, said: str, files: Callable[..., dict[str, str]], reviews, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        data = load_text_data(own(files(test=reviews.assign(label=labels))), ROLES)
    assert list(data.splits["test"]) == ["text"]
    assert said in caplog.text
    assert "redictions are written" in caplog.text


def test_minus_one_is_a_label_where_training_has_it(files: Callable[..., dict[str, str]], reviews) -> None:
    signs = reviews.assign(label=[-1, 1] * 4)
    data = load_text_data(own(files(train=signs, validation=signs, test=reviews.assign(label=-1))), ROLES)
    assert data.splits["test"]["label"].tolist() == ["-1"] * 8


def test_the_columns_that_were_read_and_those_that_were_not_are_kept(files: Callable[..., dict[str, str]]) -> None:
    table = pd.DataFrame({"comment": ["a b", "c d"], "label": [0, 1], "label_text": ["no", "yes"]})
    data = load_text_data(own({"train": files(train=table)["train"]}), ["train"])
    assert list(data.splits["train"]) == ["text", "label"]
    assert data.columns.to_dict() == {"inputs": ["comment"], "label": "label", "left_out": ["label_text"]}


def test_a_second_column_of_text_is_no_pair_unless_it_is_named(files: Callable[..., dict[str, str]], reviews) -> None:
    paths = files(train=reviews.assign(summary="good"))
    assert list(load_text_data(own(paths), ["train"]).splits["train"]) == ["text", "label"]
    paths = {"train": files(train=reviews.rename(columns={"text": "body"}).assign(summary="good"))["train"]}
    with pytest.raises(PADNetError, match=r"2 columns of text \('body', 'summary'\).*not clear.*--text_pair_column"):
        load_text_data(own(paths), ["train"])
    options = {"text_column": "body", "text_pair_column": "summary"}
    assert list(load_text_data(own(paths, **options), ["train"]).splits["train"]) == ["text", "text_pair", "label"]


def test_one_label_alone_is_refused(files: Callable[..., dict[str, str]], reviews: pd.DataFrame) -> None:
    with pytest.raises(PADNetError, match="only the label 'good': a classification needs at least 2"):
        load_text_data(own(files(train=reviews.assign(label="good"))), ROLES)


def test_words_among_scores_are_refused(files: Callable[..., dict[str, str]], reviews: pd.DataFrame) -> None:
    scored = reviews.assign(label=[number + 0.5 for number in range(8)])
    with pytest.raises(PADNetError, match=r"validation\.csv has the label 'good'.*a regression needs numbers"):
        load_text_data(own(files(train=scored)), ["train", "eval"])


def test_test_data_alone_leaves_the_labels_to_the_model(files: Callable[..., dict[str, str]]) -> None:
    data = load_text_data(own({"test": files()["test"]}), ["predict"])
    assert data.label_names is None
    assert not data.is_regression


@pytest.mark.parametrize(
    ("options", "roles", "message"),
    [
        ({"data_dir": "x"}, ["train"], "--data_dir x needs --task_name"),
        (
            {"task_name": "sst2", "train_file": "x.csv"},
            ["train"],
            "--task_name sst2 and --train_file exclude each other",
        ),
        ({"task_name": "sst2", "data_dir": "nowhere"}, ["train"], "--data_dir nowhere is not a folder"),
        ({"text_column": "a"}, ["train"], "--text_column a is for your own files"),
        ({}, ["predict"], "no split 'test', only train, validation.*--test_file"),
    ],
)
def test_choices_that_do_not_fit(options: dict[str, str], roles: list[str], message: str) -> None:
    with pytest.raises(PADNetError, match=message):
        load_text_data(DataArguments(**options), roles)


def test_a_missing_file_is_asked_for_by_its_option(files: Callable[..., dict[str, str]]) -> None:
    with pytest.raises(PADNetError, match="files has no split 'validation', only train: add --validation_file"):
        load_text_data(own({"train": files()["train"]}), ["train", "eval"])
