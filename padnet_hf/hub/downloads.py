"""Whether files that were just downloaded are what the Hub sent: huggingface_hub compares their size alone."""

import hashlib
import re
import time
from collections.abc import Iterable
from os import PathLike
from pathlib import Path

from padnet_hf.errors import PADCheckpointError

_SHA_256 = re.compile(r"[0-9a-f]{64}")
FRESH_FOR = 600
"""Seconds in which a file counts as just downloaded. Hashing a gigabyte takes about a second: later loads skip it."""


def check_downloads(files: Iterable[str | PathLike[str]]) -> None:
    """Hold fresh files in the Hub's cache against their hash, by which large files are named there.

    Raises PADCheckpointError for a file with other bytes. It stays in the cache, which other programs use too.
    """
    for file in map(Path, files):
        blob = file.resolve()
        if not _SHA_256.fullmatch(blob.name) or time.time() - blob.stat().st_mtime > FRESH_FOR:
            continue
        with blob.open("rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
        if found != blob.name:
            raise PADCheckpointError(
                f"{file.name!r} was damaged on its way from the Hub: its hash is {found[:12]}..., not "
                f"{blob.name[:12]}.... Load it again with force_download=True, or delete {str(blob)!r} first."
            )
