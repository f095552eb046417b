"""Which of its ways a dynamic convolution takes on a CPU: seven measured constants, in one table.

No result depends on them, only time and memory. `python -m benchmarks.tune_convolutions` measures them on a machine and
writes a file; name it in the environment variable PADNET_CONV_PATHS.
"""

import json
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from padnet_hf.errors import PADNetError

VARIABLE = "PADNET_CONV_PATHS"
SECTION = "conv_paths"
_REMEDY = f"let python -m benchmarks.tune_convolutions write the file, or unset {VARIABLE}"


@dataclass(frozen=True)
class ConvPaths:
    """The table. Its values are those of an AMD EPYC with 1 MiB of second-level cache per core.

    Attributes:
        scratch_bytes: of mixed kernels that exist at once; at least one sample's part does.
        block_bytes: of a kernel, so much is mixed, some of its output channels, and convolved with before the rest: it
            is still in the core's cache, and what it is mixed from was read once for many samples.
        lanes: such a part has a multiple of so many output channels, which a CPU convolves together.
        output_mixing: below so many (E - 1) * P, with E kernels and P output positions, convolving with every kernel
            and mixing the outputs is cheaper than mixing kernels for every sample.
        small_kernel: up to so many elements of a sample's kernel, many samples are convolved as groups of one
            convolution, rather than one after the other.
        apart: a unit partition's static channels are convolved apart from the dynamic ones, for all samples at once,
            where a channel's kernel has at least so many times the elements that it has output positions; of a 1x1
            convolution that is not `narrow`, output positions of all samples.
        narrow: below so many output positions, static channels of a 1x1 convolution are one matrix product for all
            samples, rather than one each.

    Raises PADNetError for a value that is not possible.
    """

    scratch_bytes: int = 16 * 2**20
    block_bytes: int = 5 * 2**18
    lanes: int = 16
    output_mixing: int = 100
    small_kernel: int = 40_000
    apart: float = 1.0
    narrow: int = 100

    def __post_init__(self) -> None:
        for field in fields(self):
            value, least = getattr(self, field.name), 1 if field.name == "lanes" else 0
            kinds = (int, float) if field.type is float else (int,)
            is_number = isinstance(value, kinds) and not isinstance(value, bool)
            if not is_number or not math.isfinite(value) or value < least:
                kind = "number" if field.type is float else "whole number"
                raise PADNetError(f"{field.name} is {value!r}, but must be a {kind} of at least {least}; {_REMEDY}.")

    @classmethod
    def from_file(cls, path: str | Path) -> "ConvPaths":
        """The table in a JSON file; a constant that it leaves out keeps its default. Raises PADNetError for another."""
        try:
            found: Any = json.loads(Path(path).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise PADNetError(
                f"{VARIABLE} is {str(path)!r}, which cannot be read as JSON ({error}); {_REMEDY}."
            ) from error
        table = found.get(SECTION) if isinstance(found, dict) else None
        if not isinstance(table, dict):
            raise PADNetError(f"{VARIABLE} is {str(path)!r}, which has no object {SECTION!r}; {_REMEDY}.")
        names = [field.name for field in fields(cls)]
        if unknown := sorted(set(table) - set(names)):
            raise PADNetError(f"{path}: {unknown[0]!r} is no constant, but one of {', '.join(names)} is; {_REMEDY}.")
        try:
            return cls(**table)
        except PADNetError as error:
            raise PADNetError(f"{path}: {error}") from None


_in_use: ConvPaths | None = None


def paths() -> ConvPaths:
    """The table in use: that of the file which the environment names, read once, or the default.

    A layer asks when it is made, so that a file that is wrong is refused there, and a compiler finds a constant.
    """
    global _in_use
    if _in_use is None:
        path = os.environ.get(VARIABLE)
        _in_use = ConvPaths.from_file(path) if path else ConvPaths()
    return _in_use


@contextmanager
def using(table: ConvPaths) -> Iterator[None]:
    """Inside this context another table is in use, in all threads."""
    global _in_use
    before, _in_use = _in_use, table
    try:
        yield
    finally:
        _in_use = before
