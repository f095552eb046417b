"""What the client does when the Hub or the way to it fails; what it does not notice is stated as well."""

import json

from tests.hub.faults import Drop, DropUpload, Fault, Shorten, Slow, Status, WrongBytes, WrongETag
from tests.hub.simulated_hub import SimulatedHub

CONTENT = bytes(range(256)) * 2000
# The waits before second tries overlap: each file, or repository, has a thread and a fault of its own.
DOWNLOAD = """
import hashlib, json, sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from huggingface_hub import hf_hub_download

def download(name):
    try:
        path = Path(hf_hub_download("org/model", name))
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return [hashlib.sha256(path.read_bytes()).hexdigest() == path.resolve().name, path.stat().st_size]

with ThreadPoolExecutor() as threads:
    print(json.dumps(list(threads.map(download, sys.argv[1:]))))
"""
UPLOAD = """
import json, sys
from concurrent.futures import ThreadPoolExecutor
from huggingface_hub import CommitOperationAdd, HfApi

def upload(repo):
    operations = [CommitOperationAdd("new.bin", bytes(3_000_000)), CommitOperationAdd("new.txt", b"text")]
    try:
        HfApi().create_commit(repo, operations, commit_message="new")
    except Exception as error:
        return f"{type(error).__name__}: {error}"

with ThreadPoolExecutor() as threads:
    print(json.dumps(list(threads.map(upload, sys.argv[1:]))))
"""


def _download(hub: SimulatedHub, *names: str, **environment: str) -> list[list | str]:
    """For each file whether it has the hash that names it, and its size; or the error."""
    return json.loads(hub.run(DOWNLOAD, *names, **environment).stdout)


def _upload(hub: SimulatedHub, *repo_ids: str) -> list[str | None]:
    """The error, if any, of an upload of new.bin and new.txt to each repository."""
    return json.loads(hub.run(UPLOAD, *repo_ids, token="writer-token").stdout)


def _create_model(hub: SimulatedHub, faults: list[tuple[str, Fault]]) -> list[str]:
    """A repository with a file for each fault."""
    names = [f"{number}.bin" for number in range(len(faults))]
    hub.repositories.create("org/model", files={name: CONTENT + name.encode() for name in names})
    for name, (method, fault) in zip(names, faults, strict=True):
        hub.fail(method, f"*/{name}", fault)
    return names


def _create_models(hub: SimulatedHub, faults: list[tuple[str, str, Fault]]) -> list[str]:
    """A repository for each fault."""
    repo_ids = [f"org/model-{number}" for number in range(len(faults))]
    for repo_id, (method, path, fault) in zip(repo_ids, faults, strict=True):
        hub.repositories.create(repo_id)
        hub.fail(method, f"*/{repo_id}{path}", fault)
    return repo_ids


def test_a_download_is_tried_again_after_these_faults(hub: SimulatedHub) -> None:
    faults = [
        ("HEAD", Status(500)),
        ("HEAD", Status(503)),
        ("GET", Status(429, retry_after=0)),
        ("GET", Drop(after=100_000)),
        ("GET", Drop()),
    ]
    names = _create_model(hub, faults)
    for name, got, (method, fault) in zip(names, _download(hub, *names), faults, strict=True):
        assert got == [True, len(CONTENT + name.encode())], fault
        assert len(hub.matching(method, f"*/{name}")) == 2, fault


def test_a_download_is_tried_again_after_too_long_a_silence(hub: SimulatedHub) -> None:
    names = _create_model(hub, [("HEAD", Slow(before=1.5)), ("GET", Slow(before=1.5)), ("GET", Slow(pause=1.5))])
    waits = {"HF_HUB_ETAG_TIMEOUT": "1", "HF_HUB_DOWNLOAD_TIMEOUT": "1"}  # seconds
    assert _download(hub, *names, **waits) == [[True, len(CONTENT) + 5]] * len(names)
    assert len(hub.matching("HEAD", f"*/{names[0]}")) > 1
    assert all(len(hub.matching("GET", f"*/{name}")) > 1 for name in names[1:])


def test_a_download_fails_at_the_first_try_at_these_faults(hub: SimulatedHub) -> None:
    errors = [
        (("GET", Status(500)), "HfHubHTTPError: Server error '500"),
        (("GET", Status(503)), "HfHubHTTPError: Server error '503"),
        (("GET", Status(403)), "HfHubHTTPError: 403 Forbidden"),
        (("GET", Drop(after=100_000, reset=True)), "ReadError: [Errno 104]"),
        (("GET", Shorten(1000)), "OSError: Consistency check failed: file should be of size 512005 but has size 1000"),
        (("HEAD", Status(403)), "LocalEntryNotFoundError: An error happened"),
        (("HEAD", Drop()), "RemoteProtocolError: Server disconnected"),
    ]
    names = _create_model(hub, [fault for fault, _ in errors])
    for name, got, ((method, fault), error) in zip(names, _download(hub, *names), errors, strict=True):
        assert isinstance(got, str), fault
        assert got.startswith(error), fault
        assert len(hub.matching(method, f"*/{name}")) == 1, fault
    # nothing of the failures stays in the cache
    assert _download(hub, *names) == [[True, len(CONTENT) + 5]] * len(names)


def test_the_client_does_not_notice_a_wrong_hash_or_a_file_cut_short_with_its_announcement(hub: SimulatedHub) -> None:
    names = _create_model(hub, [("GET", WrongBytes(start=1000)), ("HEAD", Shorten(1000)), ("HEAD", WrongETag())])
    hub.fail("GET", f"*/{names[1]}", Shorten(1000))
    size = len(CONTENT) + 5
    assert _download(hub, *names) == [[False, size], [False, 1000], [False, size]]


def test_a_long_download_goes_on_where_it_was_cut(hub: SimulatedHub) -> None:
    hub.repositories.create("org/model", files={"weights.bin": CONTENT * 24})
    hub.fail("GET", "*/resolve/*", Drop(after=11 << 20))
    assert _download(hub, "weights.bin") == [[True, len(CONTENT) * 24]]
    # the client keeps whole chunks of 10 MiB
    assert [one.range for one in hub.matching("GET")] == [None, f"bytes={10 << 20}-"]


def test_an_upload_is_tried_again_after_these_faults(hub: SimulatedHub) -> None:
    faults = [
        ("POST", "/preupload/*", Status(500)),
        ("POST", "*/objects/batch", Drop()),
        ("PUT", "*", Status(503)),
        ("PUT", "*", DropUpload(after=1_000_000)),
        ("PUT", "*", Drop(carried_out=True)),
        ("POST", "*/lfs/verify", Drop()),
    ]
    repo_ids = _create_models(hub, faults)
    assert _upload(hub, *repo_ids) == [None] * len(faults)
    for repo_id, (method, path, fault) in zip(repo_ids, faults, strict=True):
        assert len(hub.matching(method, f"*/{repo_id}{path}")) == 2, (path, fault)
        assert hub.repositories.files(repo_id)["new.bin"] == bytes(3_000_000), (path, fault)


def test_an_upload_fails_at_the_first_try_at_these_faults_and_leaves_the_revision_as_it_was(hub: SimulatedHub) -> None:
    faults = [
        ("PUT", "*", Status(403)),
        ("POST", "/commit/*", Status(500)),
        ("POST", "/commit/*", Status(429, retry_after=0)),
        ("POST", "/commit/*", DropUpload(after=100)),
        ("POST", "/commit/*", Drop()),
    ]
    repo_ids = _create_models(hub, faults)
    errors = _upload(hub, *repo_ids)
    for repo_id, error, (method, path, fault) in zip(repo_ids, errors, faults, strict=True):
        assert error is not None, (path, fault)
        assert list(hub.repositories.files(repo_id)) == [".gitattributes"], (path, fault)
        assert len(hub.matching(method, f"*/{repo_id}{path}")) == 1, (path, fault)
    assert _upload(hub, *repo_ids) == [None] * len(faults)


def test_a_commit_whose_answer_is_lost_fails_and_yet_is_there(hub: SimulatedHub) -> None:
    repo_ids = _create_models(hub, [("POST", "/commit/*", Drop(carried_out=True))])
    assert _upload(hub, *repo_ids) == ["RemoteProtocolError: Server disconnected without sending a response."]
    assert "new.txt" in hub.repositories.files(*repo_ids)


def test_a_fault_befalls_only_what_it_names_and_only_so_often(hub: SimulatedHub) -> None:
    hub.repositories.create("org/model", files={"weights.bin": CONTENT})
    rule = hub.fail("HEAD", "*/resolve/main/weights.bin", Status(500), times=2)
    hub.fail("GET", "*/other.bin", Status(500), times=None)
    hub.fail("POST", "*", Status(500), times=None)
    assert _download(hub, "weights.bin") == [[True, len(CONTENT)]]
    assert rule.hits == 2
    assert [one.status for one in hub.requests] == [500, 500, 200, 200]
