"""The device that is measured: a CUDA device where there is one, the CPU elsewhere. The benches know no difference."""

import ctypes
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Literal

import torch

_M_MMAP_THRESHOLD = -3
"""From malloc.h."""

Clock = Literal["wall", "processor"]
"""Of a CPU: time that passes, or processor time of this process over all its threads, which others hardly disturb."""

_READ: dict[Clock, Callable[[], float]] = {"wall": time.perf_counter, "processor": time.process_time}


@cache
def device() -> torch.device:
    """Where everything is built and run; asked for late, since a process that has touched CUDA must not be forked."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def seconds_of(call: Callable[[], object], clock: Clock = "wall") -> float:
    """Seconds of one call: between two events on a CUDA device, by the clock on a CPU."""
    if device().type == "cuda":
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        call()
        end.record()
        end.synchronize()
        return start.elapsed_time(end) / 1e3
    read = _READ[clock]
    started = read()
    call()
    return read() - started


def reset_peak() -> int:
    """Forget the peak so far; bytes held now: by tensors on a CUDA device, resident in this process on a CPU."""
    if device().type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated()
    Path("/proc/self/clear_refs").write_text("5")  # the documented way to reset VmHWM; Linux only
    return _resident("VmRSS")


def return_freed_memory() -> None:
    """From now on, have the C library give every freed block of a MiB or more back to the system at once.

    What it keeps of freed blocks for the next ones is no small part of a peak of a few hundred MiB, and changes with
    their order; giving back costs time.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # glibc's
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, 1 << 20)


def peak() -> int:
    """Bytes held at most since the last `reset_peak`.

    On a CPU that is VmHWM and not getrusage's ru_maxrss, because a new process inherits the latter from the one that
    started it. It counts what the C library keeps of freed memory too, and the code of libraries as it is first used:
    some ten MiB, so that peaks of less than a hundred say little.
    """
    return torch.cuda.max_memory_allocated() if device().type == "cuda" else _resident("VmHWM")


def _resident(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))
