"""Work in processes of its own, forked off one that has imported everything: starting one is cheap.

Each has its own memory and files, is killed alone, and several make a process group, as under torchrun.
"""

import faulthandler
import importlib
import multiprocessing
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from padnet_hf import PartitionReport

ROOT = Path(__file__).parents[1]
SCRIPTS = {
    "run_glue": ROOT / "examples" / "glue",
    "run_image_classification": ROOT / "examples" / "vision",
    "run_clm": ROOT / "examples" / "language_modeling",
}
SECONDS = 240
"""Longer is a hang."""

Change = Callable[[ModuleType], None]


@dataclass
class Ended:
    """How a process ended: exit code (minus the signal's number if it was killed), and what it printed."""

    code: int
    out: str
    err: str


def _child(environment: Mapping[str, str], log: str, work: Callable[..., None], *arguments: Any) -> None:
    os.environ.update(environment)
    for stream, suffix in ((1, "out"), (2, "err")):
        os.dup2(os.open(f"{log}.{suffix}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), stream)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell's background jobs ignore
    faulthandler.enable(file=2)  # a crash says where,
    faulthandler.dump_traceback_later(SECONDS - 10, file=2)  # and so does a hang
    work(*arguments)


def _run_script(script: str, argv: list[str], change: Change | None) -> None:
    PartitionReport.plot = lambda report, path: None  # a picture takes longer than a run
    module = importlib.import_module(script)
    if change is not None:
        change(module)
    sys.argv = [script, *argv]
    module.run_command(module.main)


@pytest.fixture(scope="session")
def forks() -> Iterator[Any]:
    """A multiprocessing context whose processes are forked off one with the scripts imported."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        [*SCRIPTS, "padnet_hf.models.registry", "transformers.models.auto.tokenization_auto", "pytest"]
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), *map(str, SCRIPTS.values())]))
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.setenv("TOKENIZERS_PARALLELISM", "false")
        yield context


def start_group(context: Any, folder: Path, processes: int, work: Callable[..., None], *arguments: Any) -> list[Ended]:
    """Do this work in so many processes of one group; when one fails the others are ended, as by torchrun.

    folder: for what the processes print.
    """
    started = []
    port = _free_port()
    for rank in range(processes):
        log = str(folder / f"process{rank}")
        target = (_group(rank, processes, port), log, work, *arguments)
        started.append((log, context.Process(target=_child, args=target)))
    for _, process in started:
        process.start()
    _wait([process for _, process in started])
    return [
        Ended(process.exitcode, Path(f"{log}.out").read_text(), Path(f"{log}.err").read_text())
        for log, process in started
    ]


def run_group(context: Any, folder: Path, processes: int, work: Callable[..., None], *arguments: Any) -> list[Ended]:
    """The same, and every process has to end well."""
    ended = start_group(context, folder, processes, work, *arguments)
    codes = [one.code for one in ended]
    assert codes == [0] * processes, "\n".join([f"exit codes {codes}", *(one.err for one in ended)])
    return ended


@dataclass
class Script:
    """Runs one script with common options; later options win.

    folder: for what the processes print. change: called in each process with the script's module before it runs.
    """

    context: Any
    name: str
    common: list[str]
    folder: Path

    def start(self, *options: str, processes: int = 1, change: Change | None = None) -> list[Ended]:
        """Run it to the end in so many processes of one group; when one fails the others are ended, as by torchrun."""
        arguments = (self.name, [*self.common, *options], change)
        return start_group(self.context, self.folder, processes, _run_script, *arguments)

    def run(self, *options: str, processes: int = 1, change: Change | None = None) -> list[Ended]:
        """The same, and every process has to end well."""
        arguments = (self.name, [*self.common, *options], change)
        return run_group(self.context, self.folder, processes, _run_script, *arguments)


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def _group(rank: int, processes: int, port: int) -> dict[str, str]:
    """What torchrun puts into the environment; nothing for a single process."""
    if processes == 1:
        return {}
    ranks = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": processes, "LOCAL_WORLD_SIZE": processes}
    return {name: str(value) for name, value in ranks.items()} | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}


def _wait(processes: list[Any]) -> None:
    deadline = time.monotonic() + SECONDS
    while any(process.exitcode is None for process in processes):
        if time.monotonic() > deadline or any(process.exitcode for process in processes):
            break
        time.sleep(0.02)
    for process in processes:
        if process.exitcode is None:
            process.terminate()
        process.join()
