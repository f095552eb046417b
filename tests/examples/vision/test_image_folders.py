import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from image_folders import read_folder
from padnet_hf import PADNetError


def test_the_subfolder_is_the_class_and_other_files_are_passed_over(folders: Callable, tmp_path: Path) -> None:
    path = folders(count=2)["train"]
    Path(path, "dark", "notes.txt").write_text("not an image")
    split = read_folder(path, "train_dir", labelled=True)
    assert split.labels == ("dark", "dark", "light", "light")
    assert split.describe(2) == str(Path(path, "light", "0.png"))
    with split.open(2) as image:
        assert image.size == (12, 12)


def test_images_to_predict_may_lie_side_by_side(folders: Callable) -> None:
    path = Path(folders(count=2)["test"], "dark")
    split = read_folder(str(path), "test_dir", labelled=False)
    assert (len(split), split.labels) == (2, None)
    with pytest.raises(PADNetError, match=r"the label of '.*0\.png' is missing: --train_dir needs"):
        read_folder(str(path), "train_dir", labelled=True)


def test_folders_without_images_are_refused(tmp_path: Path) -> None:
    with pytest.raises(PADNetError, match="--train_dir nowhere is not a folder: give"):
        read_folder("nowhere", "train_dir", labelled=True)
    with pytest.raises(PADNetError, match=r"holds no images: looked in it and below for .*\.jpg, .*\.png"):
        read_folder(str(tmp_path), "train_dir", labelled=True)


def test_hidden_folders_and_files_are_no_classes_and_not_counted(
    folders: Callable, caplog: pytest.LogCaptureFixture
) -> None:
    path = Path(folders(count=2)["train"])
    for hidden in (".ipynb_checkpoints", "__MACOSX", "dark/.ipynb_checkpoints", "light/deep/.trash/more"):
        shutil.copytree(path / "light", path / hidden, ignore=shutil.ignore_patterns("deep"))
    shutil.copy(path / "dark" / "0.png", path / "dark" / "._0.png")
    shutil.copy(path / "dark" / "0.png", path / ".0.png")
    with caplog.at_level(logging.INFO):
        split = read_folder(str(path), "train_dir", labelled=True)
    assert split.labels == ("dark", "dark", "light", "light")
    assert not caplog.text


def test_a_dot_above_the_folder_hides_nothing(folders: Callable, tmp_path: Path) -> None:
    shutil.move(folders(count=1)["train"], tmp_path / ".data")
    assert read_folder(str(tmp_path / ".data"), "train_dir", labelled=True).labels == ("dark", "light")


@pytest.mark.parametrize("suffix", [".jfif", ".JPE", ".avif", ".tga", ".jp2", ".pnm", ".ico"])
def test_every_kind_of_file_that_pil_opens_is_an_image(suffix: str, folders: Callable) -> None:
    path = Path(folders(count=1)["train"])
    with Image.open(path / "dark" / "0.png") as image:
        image.save(path / "dark" / f"1{suffix}", Image.registered_extensions()[suffix.lower()])
    split = read_folder(str(path), "train_dir", labelled=True)
    assert split.labels == ("dark", "dark", "light")
    with split.open(1) as image:
        assert image.convert("RGB").size == (12, 12)


def test_files_that_are_no_images_are_counted(folders: Callable, caplog: pytest.LogCaptureFixture) -> None:
    path = Path(folders(count=1)["train"])
    for name in ("a.txt", "b.txt", "light/c.json", "light/d"):
        Path(path, name).write_text("x")
    with caplog.at_level(logging.INFO):
        read_folder(str(path), "train_dir", labelled=True)
    assert "left out, for no images: 2 .txt, 1 .json, 1 without suffix" in caplog.text


@pytest.mark.parametrize("labelled", [True, False])
def test_a_class_without_any_image_is_an_error_and_an_empty_one_is_said(
    labelled: bool, folders: Callable, caplog: pytest.LogCaptureFixture
) -> None:
    path = Path(folders(count=1)["train"])
    (path / "empty").mkdir()
    read_folder(str(path), "train_dir", labelled=labelled)
    assert "empty holds no files, and is no class" in caplog.text
    (path / "raw").mkdir()
    (path / "raw" / "0.heic").write_bytes(b"x")
    with pytest.raises(PADNetError, match=r"the class 'raw' has no images, but 1 other files \(1 \.heic\)"):
        read_folder(str(path), "train_dir", labelled=labelled)
