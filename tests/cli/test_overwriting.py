"""What a command writes stands whole in its folder, or what was there before does."""

import errno
import shutil
from pathlib import Path

import pytest

from padnet_hf import PADNetError
from padnet_hf.cli import converting
from tests.cli.samples import Padnet, files_of

COMMANDS = {
    "upcycle": ("dense", ()),
    "partition": ("dynamic", ("--criterion", "magnitude")),
    "to-dense": ("upcycled", ()),
}


@pytest.fixture(scope="module")
def sources(
    padnet: Padnet, dense_folders: dict, dynamic_folders: dict, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    upcycled = tmp_path_factory.mktemp("upcycled")
    padnet("upcycle", dense_folders["bert"], upcycled)
    return {"dense": dense_folders["bert"], "dynamic": dynamic_folders["bert"], "upcycled": upcycled}


@pytest.fixture(params=COMMANDS)
def command(request: pytest.FixtureRequest, sources: dict[str, Path]) -> tuple[object, ...]:
    """A command without its target."""
    source, options = COMMANDS[request.param]
    return (request.param, *options, sources[source])


@pytest.fixture
def old(partitioned_folders: dict[str, Path], padnet: Padnet, tmp_path: Path) -> Path:
    """A checkpoint of another family with card, report and picture, and a file that belongs to none."""
    folder = Path(shutil.copytree(partitioned_folders["resnet"], tmp_path / "old"))
    padnet("card", folder)
    (folder / "model-00001-of-00002.safetensors").touch()
    (folder / "notes.md").write_text("mine")
    return folder


def test_a_checkpoint_is_not_touched_unless_asked(padnet: Padnet, command: tuple, old: Path) -> None:
    before = files_of(old)
    with pytest.raises(PADNetError, match="old' is there already: give a new folder, or add --overwrite"):
        padnet(*command, old)
    assert files_of(old) == before


def test_a_checkpoint_is_replaced_whole(padnet: Padnet, command: tuple, old: Path, tmp_path: Path) -> None:
    padnet(*command, tmp_path / "fresh")
    padnet(*command, old, "--overwrite")
    fresh, replaced = files_of(tmp_path / "fresh"), files_of(old)
    assert replaced.pop("notes.md") == b"mine"
    assert replaced.keys() == fresh.keys()
    if command[0] != "upcycle":  # routers start at random
        assert replaced == fresh


def test_folders_that_hold_no_checkpoint_and_files_are_never_replaced(
    padnet: Padnet, command: tuple, tmp_path: Path
) -> None:
    (tmp_path / "notes.md").touch()
    for target in (tmp_path, tmp_path / "notes.md"):
        with pytest.raises(PADNetError, match="is there already, and no checkpoint to be replaced: give a new folder"):
            padnet(*command, target, "--overwrite")
    assert files_of(tmp_path) == {"notes.md": b""}
    with pytest.raises(PADNetError, match=r"cannot save to '.*notes\.md/new'"):
        padnet(*command, tmp_path / "notes.md" / "new")


def test_a_checkpoint_can_be_replaced_by_its_own_partition(padnet: Padnet, sources: dict, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(sources["dynamic"], tmp_path / "here"))
    padnet("partition", folder, folder, "--criterion", "magnitude", "--overwrite")
    padnet("partition", sources["dynamic"], tmp_path / "there", "--criterion", "magnitude")
    assert files_of(folder) == files_of(tmp_path / "there")


def _no_room(*args: object, **options: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("name", ["partition", "write_report", "load_processing"])
def test_a_failure_midway_leaves_what_was_there(
    padnet: Padnet, sources: dict, old: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(converting, name, _no_room)
    before, new = files_of(old), tmp_path / "new"
    for target, options in ((new, ()), (old, ("--overwrite",))):
        with pytest.raises((PADNetError, OSError), match="No space left"):
            padnet("partition", sources["dynamic"], target, "--criterion", "magnitude", *options)
    assert files_of(old) == before
    assert not new.exists() or files_of(new) == {}
