"""Files that are there whole or not at all: written under another name, then renamed."""

import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from padnet_hf.errors import PADNetError

_UNFINISHED = "_unfinished"
"""Begins with what Trainer's uploads leave out."""

_INDEX = "model.safetensors.index."

_WEIGHTS = re.compile(
    r"model(\.(?P<variant>.+?))?(-\d+-of-\d+)?\.safetensors|model\.safetensors\.index(\.(?P<of_index>.+))?\.json"
)
"""transformers' names of weight files and of the index of several."""


def is_unfinished(path: Path) -> bool:
    """Whether a process that was killed while it wrote left this behind."""
    return path.name.split(".")[0] == _UNFINISHED


def check_new(folder: Path) -> None:
    """Raise PADNetError if the folder holds something."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise PADNetError(f"{str(folder)!r} is there already, and not empty: give a new folder.")


def write_text(path: Path, text: str) -> None:
    """Write a text file, its folder with it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{_UNFINISHED}.{path.name}")
    try:
        unfinished.write_text(text, encoding="utf-8")
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file, its folder with it."""
    write_text(path, json.dumps(content, indent=2) + "\n")


@contextmanager
def filled_whole(folder: Path) -> Iterator[Path]:
    """A new folder to write files to; they replace those of `folder` at the end of the block, if all went well.

    Whatever happens before, the files of `folder` stay as they were, or it is not there. Weights left over from an
    earlier save, which had other shards, are removed.

    Raises PADNetError if the files cannot be written, for instance because the disk is full.
    """
    if folder.exists() and not folder.is_dir():
        raise PADNetError(f"cannot save to {str(folder)!r}: it is a file; give a folder.")
    unfinished, is_new = folder / _UNFINISHED, not folder.exists()
    try:
        shutil.rmtree(unfinished, ignore_errors=True)  # of a process that was killed
        unfinished.mkdir(parents=True)
        yield unfinished
        _move(unfinished, folder)
    except (OSError, SafetensorError) as error:
        raise PADNetError(
            f"cannot save to {str(folder)!r}: {error}; what was there is unchanged. Make room, or give another folder."
        ) from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
        if is_new:
            with suppress(OSError):  # it is not empty
                folder.rmdir()


def _move(source: Path, target: Path) -> None:
    """Move the files; earlier weights of the same variants go, and an index is there only while its shards are."""
    new = sorted(source.iterdir(), key=lambda path: (path.name == "config.json", _INDEX in path.name))
    names = {path.name for path in new}
    variants = {_variant(name) for name in names} - {None}
    old = {path.name for path in target.glob("model*.safetensors*") if _variant(path.name) in variants}
    if any("-of-" in name for name in old & names):  # killed among the moves, old and new shards would make a model
        for name in old:
            if _INDEX in name:
                (target / name).unlink()
    for path in new:
        if path.is_dir() and (target / path.name).is_dir():  # a sentence-transformers model has folders in its own
            _move(path, target / path.name)
        else:
            os.replace(path, target / path.name)
    for name in old - names:
        (target / name).unlink(missing_ok=True)


def _variant(name: str) -> str | None:
    """The variant of the weights that a file is of, "" for the usual ones, None for other files."""
    match = _WEIGHTS.fullmatch(name)
    return match and (match["variant"] or match["of_index"] or "")
