"""Servers end with all that they started, also where a test fails."""

import sys
from pathlib import Path

import pytest

from tests.serving import served
from tests.serving.served import free_port, serving

STUBBORN = """
import http.server, os, signal, subprocess, sys

child = "import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN); time.sleep(600)"
subprocess.Popen([sys.executable, "-c", child], start_new_session=True)
http.server.test(http.server.SimpleHTTPRequestHandler, port=int(os.environ["PORT"]))
"""


def marks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Of the servers to come."""
    found: list[str] = []
    is_marked = served._marked
    monkeypatch.setattr(served, "_marked", lambda mark: found.append(mark) or is_marked(mark))
    return found


def test_a_server_is_asked_and_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text('{"a": 1}')
    port, seen = free_port(), marks(monkeypatch)
    with serving([sys.executable, "-m", "http.server", str(port)], tmp_path, port, "/") as server:
        assert server.ask_all("/", [None, None])[0][0] == 200
        assert server.ask("/file") == (200, {"a": 1})
        assert server.ask("/other")[0] == 404
        assert server.curl("curl localhost:8000/file -d '{}'")[0] == 501
    assert not served._marked(seen[0])


def test_what_a_failed_test_started_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = marks(monkeypatch)
    with (
        pytest.raises(ZeroDivisionError),
        serving([sys.executable, "-c", STUBBORN], tmp_path, free_port(), "/"),
    ):
        raise ZeroDivisionError
    assert not [one for one in served._marked(seen[0]) if one.is_running() and one.wait(10) is None]


def test_a_process_that_is_left_behind_is_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(served, "_END", 2)
    seen = marks(monkeypatch)
    with (
        pytest.raises(AssertionError, match=r"left behind: \[\[.*time.sleep"),
        serving([sys.executable, "-c", STUBBORN], tmp_path, free_port(), "/"),
    ):
        pass
    assert not served._marked(seen[0])


def test_a_server_that_does_not_start_says_why(tmp_path: Path) -> None:
    with (
        pytest.raises(pytest.fail.Exception, match=r"(?s)did not start.*no such luck"),
        serving([sys.executable, "-c", "raise SystemExit('no such luck')"], tmp_path, free_port(), "/"),
    ):
        pass
