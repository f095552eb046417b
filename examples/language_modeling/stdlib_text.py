"""The source of Python's standard library, which every machine has, as text to train on and to measure on."""

import hashlib
import json
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from padnet_hf import PADNetError
from padnet_hf.hub.whole_files import write_text

HELD_OUT_TENTHS = 1
_LEFT_OUT = frozenset(("test", "tests", "idle_test", "site-packages", "dist-packages", "__pycache__"))
"""Folders: tests, which are much alike, and what was installed beside the library."""


def source_files(root: Path) -> list[Path]:
    """Python files of the library, tests left out, relative to it and in order. Raises PADNetError if there is none."""
    files = sorted(path.relative_to(root) for path in root.rglob("*.py"))
    found = [path for path in files if _LEFT_OUT.isdisjoint(path.parts)]
    if not found:
        raise PADNetError(f"{root} holds no Python files: take a Python that comes with its standard library's source")
    return found


def split_of(path: Path) -> str:
    """`train` or `validation`, by a hash of the relative path alone, so that it is the same on every machine."""
    digest = hashlib.sha256(path.as_posix().encode("utf-8")).digest()
    return "validation" if int.from_bytes(digest, "big") % 10 < HELD_OUT_TENTHS else "train"


def write_splits(folder: Path, max_files: int | None = None, root: Path | None = None) -> dict[str, Path]:
    """Write train.jsonl and validation.jsonl, a row for each file, and return their paths.

    Args:
        folder: where to.
        max_files: of each split, the first so many.
        root: of the library; this Python's for None.
    """
    root = root or Path(sysconfig.get_path("stdlib"))
    folder.mkdir(parents=True, exist_ok=True)
    files, written = source_files(root), {}
    for split in ("train", "validation"):
        own = [path for path in files if split_of(path) == split][:max_files]
        rows = [json.dumps({"file": path.as_posix(), "text": text}) for path, text in _texts(root, own)]
        written[split] = folder / f"{split}.jsonl"
        write_text(written[split], "".join(f"{row}\n" for row in rows))
    return written


def _texts(root: Path, files: list[Path]) -> Iterator[tuple[Path, str]]:
    """Files with text in UTF-8; the few others (of lib2to3, in old encodings) are left out."""
    for path in files:
        try:
            text = (root / path).read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        if text.strip():
            yield path, text
