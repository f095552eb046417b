"""Calibration data that cannot be used: the value is named, and what to do; nothing is written."""

from collections.abc import Callable
from pathlib import Path

import pytest

from padnet_hf import PADNetError
from tests.cli.samples import REVIEWS, Padnet, make_dense, save_images, write_rows

NAMES = "the known labels are 'negative', 'neutral', 'positive'; correct row 1"
Refused = Callable[..., None]
HEAD = ["text", "label"]


@pytest.fixture
def refused(padnet: Padnet, dynamic_folders: dict, tmp_path: Path) -> Refused:
    """Partition with this data, which must fail with this message."""

    def run(path: object, message: str, *options: object, source: Path | str = "bert") -> None:
        command = ("partition", dynamic_folders.get(source, source), tmp_path / "target", "--data", path, *options)
        with pytest.raises(PADNetError, match=message):
            padnet(*command)
        assert not (tmp_path / "target").exists()

    return run


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (("fine", "great"), rf"rows\.jsonl' has the label 'great', but {NAMES}"),
        (("fine", 3), f"has the label '3', but {NAMES}"),
        (("fine", -1), f"has the label '-1', but {NAMES}"),
        (("fine", 0.5), f"has the label '0.5', but {NAMES}"),
        (("fine", True), f"has the label 'True', but {NAMES}"),
        (("fine", None), "row 1: column 'label' holds None, where a label is needed"),
        (("fine", [1, 2]), r"row 1: column 'label' holds \[1, 2\], a list, where one label is needed"),
        (("fine", {"a": 1}), "row 1: column 'label' holds {'a': 1}, a dict, where one label is needed"),
        ((None, 1), "row 1: column 'text' holds None, where a text is needed; fill it in or remove the row"),
    ],
)
def test_rows_that_no_model_takes(refused: Refused, tmp_path: Path, row: tuple, message: str) -> None:
    refused(write_rows(tmp_path / "rows.jsonl", HEAD, [row]), message, "--input", "text")


def test_a_missing_cell_among_others_is_named(refused: Refused, tmp_path: Path) -> None:
    path = write_rows(tmp_path / "rows.csv", HEAD, [*REVIEWS, ("fine", None)])
    refused(path, "row 9: column 'label' holds None, where a label is needed")
    path = write_rows(tmp_path / "rows.csv", HEAD, [*REVIEWS, (None, 1)])
    refused(path, "row 9: column 'text' holds '', where a text is needed")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--label", "stars"), "has no column 'stars': it has 'text', 'label'; name another with --label"),
        (("--input", "body"), "has no column 'body': it has 'text', 'label'; name another with --input"),
        (("--input", "label"), "column 'label' holds the labels, which are no text: name another column with --input"),
        (("--input", "text") * 2, "column 'text' is named twice: name another one with --input"),
        (("--input", "text") * 3, r"3 columns .* but the model takes one or two: name them with --input"),
        (("--split", "test"), r"Unknown split \"test\". Should be one of \['train'\]"),
    ],
)
def test_columns_and_splits_that_are_not_there(refused: Refused, data: dict, options: tuple, message: str) -> None:
    refused(data["bert"], message, *options)


def test_columns_that_could_all_be_inputs_must_be_named(padnet: Padnet, refused: Refused, tmp_path: Path) -> None:
    path = write_rows(tmp_path / "rows.json", ["a", "b", "c", "label"], [("x", "y", "z", 1)])
    refused(
        path, r"rows\.json' has 3 columns of text \('a', 'b', 'c'\), and it is not clear .*; name the text with --input"
    )
    path = write_rows(tmp_path / "numbers.json", ["a", "label"], [(1, 1)])
    refused(path, "has 0 columns of text, and it is not clear which to read: it has 'a', 'label'")


def test_text_for_a_model_of_images_and_images_for_one_of_text(refused: Refused, data: dict) -> None:
    refused(data["resnet"], "has 0 columns of text")
    refused(data["bert"], "has 0 columns of images, but the model takes one", source="resnet")
    refused(data["resnet"], "column 'label' holds the labels", "--input", "label", source="resnet")
    words = "has '[a-z ]+' in column 'text', but the model takes images"
    refused(data["bert"], words, "--input", "text", source="resnet")
    two = ("--input", "image", "--input", "image")
    refused(data["resnet"], "2 columns .* but the model takes one: name them", *two, source="resnet")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "rows.doc",
            "x",
            r"rows\.doc' has the suffix '\.doc': give a \.csv, \.tsv, \.json, \.jsonl, \.parquet, \.txt file",
        ),
        ("rows", "x", "has the suffix '': give a"),
        ("rows.csv", "", r"rows\.csv' cannot be read as \.csv: it is empty"),
        ("rows.csv", "text,label\n", r"rows\.csv' is empty: it needs at least 1 row"),
        (
            "rows.csv",
            'text,label\na,1\n"b,2,3\n',
            r"rows\.csv' cannot be read as \.csv: row 2 \(line 3\): its quotes do not",
        ),
        ("rows.json", "{broken", r"rows\.json' cannot be read as \.json: line 1, column 2: Expecting"),
        ("rows.parquet", "PAR1", r"rows\.parquet' cannot be read as \.parquet: "),
    ],
)
def test_files_that_cannot_be_read(refused: Refused, tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content)
    refused(tmp_path / name, message)


def test_files_folders_and_data_sets_that_are_not_there(refused: Refused, tmp_path: Path) -> None:
    refused(tmp_path / "missing.csv", r"there is no file '.*missing\.csv': give a \.csv")
    refused("org/missing", r"cannot load 'org/missing': .* a data set's name on the Hub")
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", r"cannot load '.*empty': .*doesn't contain any data files; give a")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # datasets leaves the file open
def test_a_damaged_image_is_named(refused: Refused, tmp_path: Path) -> None:
    folder = save_images(tmp_path / "images")
    damaged = folder / "ant" / "0.png"
    for content in (b"nonsense", damaged.read_bytes()[:400]):
        damaged.write_bytes(content)
        refused(folder, rf"an image of the calibration data, '{damaged}', cannot be read", source="resnet")


def test_a_model_without_a_tokenizer_cannot_be_calibrated(
    padnet: Padnet, refused: Refused, data: dict, tmp_path: Path
) -> None:
    make_dense("bert").save_pretrained(tmp_path / "dense")
    padnet("upcycle", tmp_path / "dense", tmp_path / "dynamic")
    message = "cannot load '.*dynamic': it has no tokenizer, for .* are missing or empty; save the one for"
    refused(data["bert"], message, source=tmp_path / "dynamic")


def test_models_of_other_kinds_are_for_python(
    padnet: Padnet, refused: Refused, dense_folders: dict, tmp_path: Path
) -> None:
    model = make_dense("bert")
    model.config.problem_type = "multi_label_classification"
    model.save_pretrained(tmp_path / "dense")
    model.bert.save_pretrained(tmp_path / "bare")
    for name in ("dense", "bare"):
        padnet("upcycle", tmp_path / name, tmp_path / f"dynamic-{name}")
        message = "--data calibrates language models, and classifiers.*use padnet_hf.partition in Python"
        refused("rows.csv", message, source=tmp_path / f"dynamic-{name}")


def test_regression_knows_no_names(padnet: Padnet, refused: Refused, dense_folders: dict, tmp_path: Path) -> None:
    padnet("upcycle", dense_folders["bert"], tmp_path / "dynamic", "--num-labels", 1)
    path = write_rows(tmp_path / "rows.csv", HEAD, [("fine", "good")])
    refused(path, "has the label 'good', but a regression needs numbers; correct row 1", source=tmp_path / "dynamic")
