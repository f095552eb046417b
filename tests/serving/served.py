"""A server as a process of its own: started, asked over HTTP, ended with all that it started.

Engines are in a Python of their own (`make serve-test` makes it), which sees the packages of this one.
"""

import json
import os
import shlex
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.serving.documented import ROOT

PYTHON = os.environ.get("PADNET_ENGINES_PYTHON")

needs_engines = [
    pytest.mark.slow,
    pytest.mark.skipif(not PYTHON, reason="PADNET_ENGINES_PYTHON names no Python with the engines: `make serve-test`"),
]
"""The `pytestmark` of a module that starts servers."""

_MARK = "PADNET_SERVED"
"""In the environment of all processes of a server, whoever started them."""

_START, _END = 180, 30
"""Seconds until a server answers, and until it is gone."""

Answer = tuple[int, Any]
"""Status and body, which is JSON, or a text."""


@dataclass(frozen=True)
class Server:
    """What answers at a port of this machine."""

    port: int
    log: Path

    def ask(self, path: str, body: Any = None) -> Answer:
        """Post a body, as JSON unless it is bytes; get without one."""
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data, headers)
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                return response.status, _read(response)
        except urllib.error.HTTPError as error:
            return error.code, _read(error)

    def ask_all(self, path: str, bodies: Sequence[Any]) -> list[Answer]:
        """From as many clients at once."""
        with ThreadPoolExecutor(len(bodies)) as clients:
            return list(clients.map(lambda body: self.ask(path, body), bodies))

    def curl(self, command: str) -> Answer:
        """What the command of a document asks, at this port."""
        words = shlex.split(command)
        assert words[0] == "curl"
        host, _, path = words[1].partition("/")
        assert host == "localhost:8000"
        return self.ask(f"/{path}", words[words.index("-d") + 1].encode())


def _read(response: Any) -> Any:
    text = response.read().decode()
    try:
        return json.loads(text)
    except ValueError:
        return text


def free_port() -> int:
    """One that nobody listens at."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


@contextmanager
def serving(
    command: Sequence[str | Path], folder: Path, port: int, ready: str, *, ours: bool = True, **environment: str
) -> Iterator[Server]:
    """Run the command in `folder`, with PORT in its environment, until the block ends; then Ctrl-C ends it.

    Args:
        ready: path that answers as soon as the server does.
        ours: whether the process sees this package.
    """
    mark, server = uuid.uuid4().hex, Server(port, folder / "log")
    given = os.environ | environment | {_MARK: mark, "PORT": str(port), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    given.pop("PYTHONPATH", None)
    if ours:
        given["PYTHONPATH"] = str(ROOT)
    with server.log.open("w") as log:
        process = subprocess.Popen(
            list(map(str, command)),
            cwd=folder,
            env=given,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            # a background job of a shell ignores Ctrl-C, and so would all that it starts
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
    try:
        _wait_until_ready(server, process, ready)
        yield server
        process.send_signal(signal.SIGINT)
        process.wait(_END)
        assert _all_gone(mark), f"left behind: {[one.cmdline() for one in _marked(mark)]}"
    finally:
        for one in _marked(mark):
            one.kill()
        process.wait(_END)
        _all_gone(mark)  # what was killed is listed for a moment yet


def _wait_until_ready(server: Server, process: subprocess.Popen, path: str) -> None:
    end = time.monotonic() + _START
    while time.monotonic() < end and process.poll() is None:
        try:
            if server.ask(path)[0] == 200:
                return
        except OSError:  # nobody listens yet
            pass
        time.sleep(0.2)
    pytest.fail(f"the server did not start:\n{server.log.read_text()[-4000:]}")


def _marked(mark: str) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(_MARK) == mark and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:  # another user's, or gone meanwhile
            continue
    return found


def _all_gone(mark: str) -> bool:
    end = time.monotonic() + _END
    while (left := _marked(mark)) and time.monotonic() < end:
        time.sleep(0.2)
    return not left
