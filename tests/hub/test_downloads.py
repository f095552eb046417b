"""Files in the Hub's cache are held against the hash that names them, as long as they are fresh."""

import hashlib
import os
import time
from pathlib import Path

import pytest

from padnet_hf.errors import PADCheckpointError
from padnet_hf.hub.downloads import FRESH_FOR, check_downloads


def cached(folder: Path, content: bytes, name: str | None = None) -> Path:
    """A link to a blob called after its hash, or as said."""
    blob = folder / (name or hashlib.sha256(content).hexdigest())
    blob.write_bytes(content)
    link = folder / "model.safetensors"
    link.symlink_to(blob)
    return link


def test_a_file_with_its_hash_passes(tmp_path: Path) -> None:
    check_downloads([cached(tmp_path, b"values")])


def test_a_file_with_another_hash_is_refused_and_stays(tmp_path: Path) -> None:
    link = cached(tmp_path, b"other values", hashlib.sha256(b"values").hexdigest())
    message = (
        rf"'model\.safetensors' was damaged on its way .* force_download=True, or delete '.*{link.resolve().name}'"
    )
    with pytest.raises(PADCheckpointError, match=message):
        check_downloads([link])
    assert link.read_bytes() == b"other values"


def test_what_was_downloaded_long_ago_is_not_read_again(tmp_path: Path) -> None:
    link = cached(tmp_path, b"other values", hashlib.sha256(b"values").hexdigest())
    long_ago = time.time() - FRESH_FOR - 1
    os.utime(link.resolve(), (long_ago, long_ago))
    check_downloads([link])


def test_files_that_are_not_called_after_their_hash_pass(tmp_path: Path) -> None:
    check_downloads([cached(tmp_path, b"values", "0123abcd")])
    plain = tmp_path / "plain.safetensors"
    plain.write_bytes(b"values")
    check_downloads([plain])
