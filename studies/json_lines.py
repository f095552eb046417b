"""Files of JSON lines that are only ever appended to, each line whole or not at all."""

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any


def read_lines(folder: Path) -> Iterator[dict[str, Any]]:
    """Every line of a folder's files, in the order of their names; a torn last line is none."""
    for path in sorted(folder.glob("*.jsonl")):
        for line in path.read_bytes().splitlines(keepends=True):
            if line.endswith(b"\n"):
                yield json.loads(line)


def append_line(path: Path, values: Mapping[str, Any]) -> None:
    """Add a line; what a killed process has left of another one is removed first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        file.truncate(file.read().rfind(b"\n") + 1)
        file.write(json.dumps(values).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())
