from collections.abc import Callable
from pathlib import Path

import pytest

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
    with pytest.raises(PADNetError, match=r"holds no images: looked in it and below for \.bmp"):
        read_folder(str(tmp_path), "train_dir", labelled=True)
