"""A Hub for one test: its server, what the test sees of it, and how to run a client against it."""

import os
import subprocess
import sys
import threading
from fnmatch import fnmatchcase
from pathlib import Path

from tests.hub.faults import Fault, Rule
from tests.hub.server import Exchange, HubServer

PROJECT = Path(__file__).parents[2]
KNOWN_WARNINGS = (
    # of the client, about its own LFS uploads
    "ignore:Use 'content=<...>' to upload raw bytes/text content.:DeprecationWarning",
    # of the client, where Trainer switches progress bars on and the environment has switched them off
    "ignore:Cannot enable progress bars:UserWarning",
    # of torch, on a machine without an accelerator, about Trainer's own default
    "ignore:'pin_memory' argument is set as true but no accelerator is found:UserWarning",
)
DROPPED = ("HF_", "HUGGING", "TRANSFORMERS_", "PYTEST_", "PYTHONWARNINGS")  # settings of the tests' own process


class SimulatedHub:
    """Starts with no repository. Tokens: "writer-token" and "reader-token" are alice's, who belongs to "org", and
    "stranger-token" is mallory's; `accounts` takes more."""

    def __init__(self, home: Path) -> None:
        self.home = home  # the cache that `run` gives a client unless told otherwise
        self._server = HubServer()
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self.repositories = self._server.repositories
        self.accounts = self._server.accounts
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    @property
    def requests(self) -> list[Exchange]:
        """All requests so far, in the order in which they came."""
        return list(self._server.exchanges)

    def matching(self, method: str = "*", path: str = "*") -> list[Exchange]:
        """Requests so far, filtered with * and ?."""
        return [one for one in self.requests if fnmatchcase(one.method, method) and fnmatchcase(one.path, path)]

    def bytes_sent(self, method: str = "*", path: str = "*") -> int:
        return sum(one.sent for one in self.matching(method, path))

    def bytes_received(self, method: str = "*", path: str = "*") -> int:
        return sum(one.received for one in self.matching(method, path))

    def forget(self) -> None:
        """Empty the log, and switch off all faults."""
        self._server.exchanges.clear()
        self._server.faults.rules.clear()

    def fail(self, method: str, path: str, fault: Fault, times: int | None = 1) -> Rule:
        """Let a fault befall the next `times` requests that fit; None is for good. `Rule.hits` counts them."""
        rule = Rule(method, path, fault, times)
        self._server.faults.rules.append(rule)
        return rule

    def environment(
        self, token: str | None = None, home: Path | None = None, offline: bool = False, **more: str
    ) -> dict[str, str]:
        """Environment of a process that takes this server for the Hub; `more` is added, say HF_HUB_DOWNLOAD_TIMEOUT."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(DROPPED)}
        kept = {name: value for name, value in kept.items() if not name.lower().endswith("_proxy")}
        settings = {
            "HF_ENDPOINT": self.url,
            "HF_HOME": str(home or self.home),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": str(PROJECT),
        }
        if token is not None:
            settings["HF_TOKEN"] = token
        if offline:
            settings["HF_HUB_OFFLINE"] = "1"
        return kept | settings | more

    def run(
        self,
        code: str,
        *args: str,
        token: str | None = None,
        check: bool = True,
        home: Path | None = None,
        offline: bool = False,
        warnings: str | None = "error",
        timeout: float = 120,
        **environment: str,
    ) -> subprocess.CompletedProcess[str]:
        """Run Python code as a client, in a process and a folder of its own.

        `home` is the client's cache and folder: the same for all runs of a test unless given. `warnings` is Python's
        -W, with exceptions for KNOWN_WARNINGS; None for none. With `check`, a failure of the code is one of the test.
        """
        home = home or self.home
        home.mkdir(parents=True, exist_ok=True)
        switches = (
            [] if warnings is None else [part for filter in (warnings, *KNOWN_WARNINGS) for part in ("-W", filter)]
        )
        done = subprocess.run(
            [sys.executable, *switches, "-c", code, *args],
            env=self.environment(token, home, offline, **environment),
            cwd=home,
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        assert not check or done.returncode == 0, f"exit status {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def close(self) -> None:
        """Stop serving; a mistake of the server itself comes to light here at the latest."""
        self._server.closing.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        assert not self._server.errors, "\n".join(self._server.errors)
