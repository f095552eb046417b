"""A push that breaks off leaves the repository as it was, and the next one succeeds."""

import json
import subprocess
import sys
import time

import pytest

from tests.hub.faults import Drop, DropUpload, Fault, Slow, Status
from tests.hub.simulated_hub import SimulatedHub

FAULTS: dict[str, tuple[str, str, Fault]] = {
    "put-dropped": ("PUT", "/storage/org/put-dropped/*", DropUpload(after=100_000)),
    "put-refused": ("PUT", "/storage/org/put-refused/*", Status(403)),
    "put-broken": ("PUT", "/storage/org/put-broken/*", Status(500)),
    "commit-dropped": ("POST", "/api/models/org/commit-dropped/commit/*", DropUpload(after=300)),
    "commit-unanswered": ("POST", "/api/models/org/commit-unanswered/commit/*", Drop()),
    "commit-broken": ("POST", "/api/models/org/commit-broken/commit/*", Status(500)),
    "modes-broken": ("POST", "/api/models/org/modes-broken/preupload/*", Status(500)),
}
PUSH = """
import json, sys, time
time.sleep = lambda seconds: None  # the client waits between its tries
from padnet_hf import PADNetError
from tests.hub.cases import make_model, moved

model, told = moved(make_model("bert-unit"), seed=2), {}
for name in sys.argv[1:]:
    try:
        model.push_to_hub(f"org/{name}")
        told[name] = "pushed"
    except PADNetError as error:
        told[name] = f"{type(error).__name__}: {error}"
print(json.dumps(told))
"""
EARLIER = {
    "model.safetensors": b"earlier weights",
    "README.md": b"---\ntags: [a]\n---\n# Earlier\n",
    "notes.txt": b"notes",
}


def _push(hub: SimulatedHub, *names: str) -> dict[str, str]:
    return json.loads(hub.run(PUSH, *names, token="writer-token").stdout.splitlines()[-1])


def _create(hub: SimulatedHub, *names: str) -> dict[str, str]:
    """Repositories with earlier files, and the id of each one's newest commit."""
    for name in names:
        hub.repositories.create(f"org/{name}", files=EARLIER)
    return {name: hub.repositories.head(f"org/{name}") for name in names}


def _check_pushed(hub: SimulatedHub, *names: str) -> None:
    """A push succeeds, and leaves the same in every repository."""
    assert _push(hub, *names) == dict.fromkeys(names, "pushed")
    files = [hub.repositories.files(f"org/{name}") for name in names]
    assert all(file["notes.txt"] == EARLIER["notes.txt"] for file in files)
    (weights,) = {file["model.safetensors"] for file in files}
    assert weights != EARLIER["model.safetensors"]


def test_a_broken_push_leaves_the_revision_and_the_next_one_succeeds(hub: SimulatedHub) -> None:
    heads = _create(hub, *FAULTS)
    rules = {name: hub.fail(*fault, times=None) for name, fault in FAULTS.items()}
    for name, message in _push(hub, *FAULTS).items():
        assert rules[name].hits, name
        assert message.startswith("PADHubError: "), name
        assert f"'org/{name}'" in message
        assert hub.repositories.head(f"org/{name}") == heads[name], name
    hub.forget()
    _check_pushed(hub, *FAULTS)


@pytest.mark.slow
def test_a_killed_push_leaves_the_revision_and_the_next_one_succeeds(hub: SimulatedHub) -> None:
    stages = {"put": ("PUT", "/storage/*"), "preupload": ("POST", "*/preupload/*")}
    heads = _create(hub, *stages)
    for name, (method, path) in stages.items():
        hub.fail(method, path, Slow(before=60))
        _kill_at(hub, name, method, path)
        assert hub.repositories.head(f"org/{name}") == heads[name]
        hub.forget()
    _check_pushed(hub, *stages)


def _kill_at(hub: SimulatedHub, name: str, method: str, path: str) -> None:
    """Push, and kill the process as soon as the server has read such a request."""
    hub.home.mkdir(exist_ok=True)
    command, environment = [sys.executable, "-c", PUSH, name], hub.environment("writer-token")
    client = subprocess.Popen(command, env=environment, cwd=hub.home, stdout=subprocess.DEVNULL)
    try:
        while not hub.matching(method, path):
            assert client.poll() is None
            time.sleep(0.02)
    finally:
        client.kill()
        client.wait()
