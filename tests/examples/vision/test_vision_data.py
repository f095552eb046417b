import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from padnet_hf import PADNetError
from vision_arguments import DataArguments
from vision_data import load_image_data

Folders = Callable[..., dict[str, str]]


def test_folders_give_their_classes_in_order(folders: Folders) -> None:
    paths = folders(count=2)
    options = DataArguments(**{f"{split}_dir": path for split, path in paths.items()})
    data = load_image_data(options, ["train", "eval", "predict"])
    assert data.label_names == ("dark", "light")
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 4, "validation": 4, "test": 4}


def test_the_test_split_serves_as_validation_and_this_is_said(
    parquet: Callable[..., str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    options = DataArguments(data_dir=parquet(), max_eval_samples=3)
    with caplog.at_level(logging.INFO):
        data = load_image_data(options, ["train", "eval"], str(tmp_path / "cache"))
    assert "parquet has no validation split: its test split serves as one" in caplog.text
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 6, "validation": 3}


def test_a_test_split_without_labels_cannot_serve(parquet: Callable[..., str], tmp_path: Path) -> None:
    options = DataArguments(data_dir=parquet(test_labels=False))
    with pytest.raises(PADNetError, match=r"no validation split.*--train_val_split 0\.1"):
        load_image_data(options, ["train", "eval"], str(tmp_path / "cache"))


@pytest.mark.parametrize("roles", [["train", "eval"], ["eval"]])
def test_a_share_of_the_training_images_can_be_held_out(roles: list[str], folders: Folders) -> None:
    data = load_image_data(DataArguments(train_dir=folders()["train"], train_val_split=0.25), roles)
    assert len(data.splits["validation"]) == 4
    if "train" in roles:
        paths = [{split.describe(index) for index in range(len(split))} for split in data.splits.values()]
        assert len(set.union(*paths)) == 16


BAD = {
    "two sources": ({"data_dir": "a", "train_dir": "b"}, "--data_dir and --train_dir exclude each other"),
    "column of folders": ({"train_dir": "b", "label_column_name": "x"}, "--label_column_name x is for data with"),
    "configuration without a name": ({"dataset_config_name": "x"}, "--dataset_config_name x needs --dataset_name"),
    "unknown data set": ({"dataset_name": "no/such-data"}, "cannot load 'no/such-data'.*--data_dir FOLDER"),
    "digits without a test": ({}, "digits has no test split, only train, validation: .*--test_dir"),
    "digits held out": ({"train_val_split": 0.1}, "has a validation split: leave the option out"),
}


@pytest.mark.parametrize("case", BAD)
def test_choices_that_cannot_be(case: str) -> None:
    options, message = BAD[case]
    with pytest.raises(PADNetError, match=message):
        load_image_data(DataArguments(**options), ["train", "eval", "predict"])


def test_classes_that_training_does_not_know_are_refused(folders: Folders) -> None:
    paths = folders(count=1)
    Path(paths["validation"], "dark").rename(Path(paths["validation"], "dusk"))
    options = DataArguments(train_dir=paths["train"], validation_dir=paths["validation"])
    with pytest.raises(PADNetError, match=r"--validation_dir .* has the label 'dusk', but the known labels are 'dark'"):
        load_image_data(options, ["train", "eval"])


def test_missing_folders_name_the_option(folders: Folders) -> None:
    path = folders(count=1)["train"]
    with pytest.raises(PADNetError, match=r"folders has no validation split, only train: add --train_val_split 0\.1"):
        load_image_data(DataArguments(train_dir=path), ["train", "eval"])
    with pytest.raises(PADNetError, match="folders has no test split, only train: add --test_dir"):
        load_image_data(DataArguments(train_dir=path), ["train", "predict"])


def test_test_images_of_other_classes_are_predicted_without_being_measured(
    folders: Folders, caplog: pytest.LogCaptureFixture
) -> None:
    paths = folders(count=1)
    Path(paths["test"], "dark").rename(Path(paths["test"], "dusk"))
    options = DataArguments(train_dir=paths["train"], test_dir=paths["test"])
    data = load_image_data(options, ["train", "predict"])
    assert (len(data.splits["test"]), data.splits["test"].labels) == (2, None)
    assert data.splits["train"].labels == ("dark", "light")
    assert "has the label 'dusk'" in caplog.text
    assert "Predictions are written, but nothing is measured" in caplog.text
