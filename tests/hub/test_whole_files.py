"""Files that are there whole or not at all."""

import json
import os
import resource
from collections.abc import Callable
from pathlib import Path

import pytest

from padnet_hf import PADNetError
from padnet_hf.hub.whole_files import filled_whole, write_json, write_text

OLD = {
    "config.json": "old config",
    "model-00001-of-00002.safetensors": "old 1",
    "model-00002-of-00002.safetensors": "old 2",
    "model.safetensors.index.json": "old index",
    "README.md": "mine",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "deep" / "checkpoint"
    path.mkdir(parents=True)
    for name, text in OLD.items():
        (path / name).write_text(text)
    return path


def contents(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir()}


def fill(folder: Path, **files: str) -> None:
    with filled_whole(folder) as new:
        for name, text in files.items():
            (new / name.replace("__", ".")).write_text(text)


def test_new_files_replace_old_ones_and_stale_weights_go(folder: Path) -> None:
    fill(folder, config__json="new config", model__safetensors="new")
    assert contents(folder) == {"config.json": "new config", "model.safetensors": "new", "README.md": "mine"}


def test_weights_stay_where_no_new_ones_come(folder: Path) -> None:
    fill(folder, tokenizer__json="new")
    assert contents(folder) == OLD | {"tokenizer.json": "new"}


def test_a_folder_that_is_not_there_is_made(tmp_path: Path) -> None:
    fill(tmp_path / "a" / "b", config__json="new")
    assert contents(tmp_path / "a" / "b") == {"config.json": "new"}


def test_after_an_error_a_folder_that_was_not_there_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(PADNetError), filled_whole(tmp_path / "new") as new:
        os.rename(new / "missing", new / "config.json")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError, ValueError])
def test_after_an_error_everything_is_as_it_was(folder: Path, error: type[BaseException]) -> None:
    def fail() -> None:
        with filled_whole(folder) as new:
            (new / "config.json").write_text("half")
            raise error("in between")

    with pytest.raises(PADNetError if error is OSError else error, match="in between"):
        fail()
    assert contents(folder) == OLD


def test_files_of_a_killed_process_do_not_come_in(folder: Path) -> None:
    (folder / "_unfinished").mkdir()
    (folder / "_unfinished" / "model-00007-of-00009.safetensors").write_text("half")
    fill(folder, config__json="new config", model__safetensors="new")
    assert contents(folder).keys() == {"config.json", "model.safetensors", "README.md"}


def test_the_configuration_is_moved_last(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    moved, replace = [], os.replace

    def note(source: Path, target: Path) -> None:
        moved.append(Path(target).name)
        replace(source, target)

    monkeypatch.setattr(os, "replace", note)
    fill(folder, a__json="", config__json="", model__safetensors="", z__txt="")
    assert moved[-1] == "config.json"
    assert len(moved) == 4


def test_a_file_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("mine")
    with pytest.raises(PADNetError, match=r"cannot save to '.*/file': it is a file; give a folder"):
        fill(file, config__json="new")
    with pytest.raises(PADNetError, match=r"cannot save to '.*/file/below': .*[Nn]ot a directory"):
        fill(file / "below", config__json="new")
    assert file.read_text() == "mine"


@pytest.fixture
def small_disk() -> Callable[[], None]:
    """Call it, and no file of this process can grow beyond a kilobyte until the end of the test."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_text_that_does_not_fit_on_the_disk_leaves_the_earlier_one(
    folder: Path, small_disk: Callable[[], None]
) -> None:
    small_disk()
    with pytest.raises(OSError, match="File too large"):
        write_text(folder / "README.md", "x" * 2000)
    with pytest.raises(PADNetError, match=r"cannot save to .*File too large.*unchanged.*Make room"):
        fill(folder, config__json="new", model__safetensors="x" * 2000)
    assert contents(folder) == OLD


def test_json_ends_with_a_line_break_and_its_folder_is_made(tmp_path: Path) -> None:
    write_json(tmp_path / "new" / "a.json", {"ü": [1]})
    text = (tmp_path / "new" / "a.json").read_text()
    assert json.loads(text) == {"ü": [1]}
    assert text.endswith("}\n")


def test_weights_of_another_variant_stay(folder: Path) -> None:
    usual = {"model-00001-of-00002.safetensors": "1", "model-00002-of-00002.safetensors": "2"}
    usual |= {"model.safetensors.index.json": "of both"}
    half = {"model.fp16-00001-of-00002.safetensors": "1h", "model.fp16-00002-of-00002.safetensors": "2h"}
    half |= {"model.safetensors.index.fp16.json": "of both halves"}
    for files in (usual, half):
        with filled_whole(folder) as new:
            for name, text in files.items():
                (new / name).write_text(text)
    assert contents(folder).items() >= (usual | half).items()
    with filled_whole(folder) as new:
        (new / "model.fp16.safetensors").write_text("one half")
    left = {name: text for name, text in contents(folder).items() if name.startswith("model")}
    assert left == usual | {"model.fp16.safetensors": "one half"}


def test_files_in_folders_of_a_folder_are_replaced_too(folder: Path) -> None:
    for content in ("old", "new"):
        with filled_whole(folder) as unfinished:
            (unfinished / "1_Pooling").mkdir()
            (unfinished / "1_Pooling" / "config.json").write_text(content)
    assert (folder / "1_Pooling" / "config.json").read_text() == "new"
