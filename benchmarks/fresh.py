"""Measurements that need a process of their own: peak memory, and whatever an earlier one would leave behind."""

import gc
import multiprocessing
import os
import random
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.device import Clock, device

ROOT = Path(__file__).parents[1]
_IMPORTED_ONCE = ["benchmarks.gpu"]
"""What imports all that any bench measures: a process that had to import a part of it would take a second for that."""


def in_fresh_process(function: Callable[..., Any], *args: Any) -> Any:
    """What `function` gives in a new process with as many threads as this one; it must be a module's own function.

    It is forked from one that has done nothing but import, which saves seconds each time. On a CUDA device it is this
    very process, once that has let go of what it does not use: there a peak counts tensors alone, whatever was before,
    and a new process takes ten seconds for its imports and its context.
    """
    if device().type == "cuda":
        gc.collect()  # models hold themselves in circles
        torch.cuda.empty_cache()
        return function(*args)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_IMPORTED_ONCE)
    with ProcessPoolExecutor(1, context, torch.set_num_threads, (torch.get_num_threads(),)) as pool:
        return pool.submit(function, *args).result()


def alternating(
    calls: Mapping[str, Callable[[], Mapping[str, float]]], rounds: int, seed: int = 0
) -> dict[str, dict[str, list[float]]]:
    """Quantity -> name -> a value per round; every call gives its quantities, once a round, in a random order."""
    order, found = list(calls), {}
    shuffle = random.Random(seed).shuffle
    for _ in range(rounds):
        shuffle(order)
        for name in order:
            for quantity, value in calls[name]().items():
                found.setdefault(quantity, {other: [] for other in calls})[name].append(value)
    return found


def each_in_fresh_process(
    calls: Mapping[str, Callable[[], Mapping[str, float]]], rounds: int
) -> dict[str, dict[str, list[float]]]:
    """`alternating`, each call in a new process; a call is a module's own function or a `partial` of one."""
    return alternating({name: partial(in_fresh_process, call) for name, call in calls.items()}, rounds)


def seconds_of_program(arguments: Sequence[str], clock: Clock = "wall") -> float:
    """Seconds of `python` with these arguments from its start to its end, run in the repository's root."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads()), "TQDM_DISABLE": "1"}
    started, used = time.perf_counter(), processor_seconds()
    subprocess.run([sys.executable, *arguments], check=True, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started if clock == "wall" else processor_seconds() - used


def processor_seconds() -> float:
    """Used by finished child processes: unlike the time on the clock, hardly moved by other work on the machine."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
