"""What the Hub refuses is one clear error, and changes nothing."""

import json
import re
from pathlib import Path

import pytest
from huggingface_hub.errors import LocalEntryNotFoundError, OfflineModeIsEnabled

from padnet_hf.errors import PADCheckpointError, PADHubError
from padnet_hf.hub.access import explained, repository_name
from tests.hub.faults import Status
from tests.hub.published import Published

ASK = """
import json, sys
import padnet_hf
from padnet_hf.hub.inspection import inspect_checkpoint
from tests.hub.cases import make_model
from transformers import AutoModelForSequenceClassification

model, told = make_model("bert-unit"), []
ask = {
    "push": lambda repo, token: model.push_to_hub(repo, token=token),
    "inspect": lambda repo, token: inspect_checkpoint(repo, token=token),
    "load": lambda repo, token: AutoModelForSequenceClassification.from_pretrained(repo, token=token),
}
for what, repo, token in json.loads(sys.argv[1]):
    try:
        told.append(repr(ask[what](repo, token)))
    except Exception as error:
        told.append(f"{type(error).__name__}: {error}")
print(json.dumps(told))
"""
LOGIN = r"log in with `hf auth login`, or set HF_TOKEN"
NO_WRITE = "PADHubError: the token may not write to '{}': take one with write access to 'org', or another name"
NO_NAME = "PADHubError: '{}' is neither a folder nor a repository's name, like 'org/name'"
NOT_THERE = f"PADHubError: '{{}}' is not on http://.*, or is private: check the name, and {LOGIN}"
REFUSED = [
    ("push", "org/there", False, f"PADHubError: no valid token for '{{}}': {LOGIN}"),
    ("push", "org/new", False, f"PADHubError: no valid token for '{{}}': {LOGIN}"),
    ("push", "org/there", "unheard-of", f"PADHubError: no valid token for '{{}}': {LOGIN}"),
    ("push", "org/there", "reader-token", NO_WRITE),
    ("push", "org/there", "stranger-token", NO_WRITE),
    ("push", "org/new", "stranger-token", NO_WRITE),
    ("push", "org/a/b", "writer-token", NO_NAME),
    ("push", "../model", "writer-token", NO_NAME),
    ("push", "org/busy", "writer-token", "PADHubError: http://.* answered 429 for '{}': .*; nothing was changed, try"),
    ("inspect", "org/nothing", False, NOT_THERE),
    ("inspect", "org/private", False, NOT_THERE),
    ("inspect", "org/private", "stranger-token", NOT_THERE),
    ("inspect", "org/there", False, "PADHubError: '{}' lacks a file: .*config.json"),
    ("inspect", "org/pickled", False, "PADCheckpointError: '{}' lacks weights in safetensors"),
    (
        "load",
        "org/pickled",
        False,
        r"PADCheckpointError: '{}' has no model.safetensors.*\(pytorch_model.bin\) .*any code",
    ),
    ("inspect", "org/climbing", False, "PADCheckpointError: the index of the weights in '{}' names .*outside of it"),
    ("load", "org/climbing", False, r"ValueError: Invalid filename .* cannot contain a '\.\.' path segment"),
]
ALLOWED = [("inspect", "org/private", "reader-token"), ("push", "org/new", "writer-token")]


@pytest.fixture(scope="module")
def told(published: Published, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The answer to each request; what was refused has changed nothing."""
    hub, repositories, files = published.hub, published.hub.repositories, published.files("bert-unit")
    repositories.create("org/there", files={"notes.txt": b"notes"})
    repositories.create("org/busy")
    repositories.create("org/private", private=True, files=files)
    pickled = {path: content for path, content in files.items() if "safetensors" not in path}
    repositories.create("org/pickled", files={**pickled, "pytorch_model.bin": b"a pickle"})
    shard = "model-00001-of-00007.safetensors"
    index = files["model.safetensors.index.json"].replace(
        shard.encode(), b"../../../bert-unit/resolve/main/" + shard.encode()
    )
    repositories.create("org/climbing", files={**files, "model.safetensors.index.json": index})
    hub.fail("POST", "*/busy/preupload/*", Status(429, retry_after=0), times=None)
    heads = {name: repositories.head(name) for name in ("org/there", "org/busy")}
    requests = [request[:3] for request in REFUSED] + ALLOWED
    environment = {"DISABLE_SAFETENSORS_CONVERSION": "1"}  # transformers asks a service for it, which is not here
    done = hub.run(ASK, json.dumps(requests), home=tmp_path_factory.mktemp("access"), **environment)
    hub.forget()
    assert {name: repositories.head(name) for name in heads} == heads
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("number", range(len(REFUSED)), ids=[" ".join(map(str, one[:3])) for one in REFUSED])
def test_what_is_refused_is_named_with_its_remedy(told: list[str], number: int) -> None:
    _, repo, _, message = REFUSED[number]
    assert re.match(message.format(repo), told[number])


def test_the_same_requests_with_the_right_token_are_carried_out(told: list[str]) -> None:
    inspected, pushed = told[-2:]
    assert inspected.startswith("Inspection(source='org/private'")
    assert pushed.startswith("CommitInfo(")


def test_a_name_is_a_repositorys_unless_there_is_such_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert repository_name("org/name") == "org/name"
    assert repository_name("name") == "name"
    (tmp_path / "org" / "name").mkdir(parents=True)
    assert repository_name("org/name") is None
    for folder in ("/tmp/x", "a/b/c", "../x", "", None, tmp_path):
        assert repository_name(folder) is None


def test_what_needs_the_hub_says_that_it_is_switched_off() -> None:
    with pytest.raises(PADHubError, match="'org/name' is out of reach: HF_HUB_OFFLINE is set"), explained("org/name"):
        raise OfflineModeIsEnabled("")


@pytest.mark.parametrize("error", [LocalEntryNotFoundError("")])
def test_being_offline_is_told_with_the_command_that_fills_the_cache(error: Exception) -> None:
    with (
        pytest.raises(PADHubError, match=r"'org/name' .* cache .*`hf download org/name` gets it"),
        explained("org/name"),
    ):
        raise error


def test_other_errors_go_through() -> None:
    for error in (PADCheckpointError("damaged"), RuntimeError("a mistake"), KeyError("x")):
        with pytest.raises(type(error), match=str(error)), explained("org/name"):
            raise error from OSError("a cause")


def test_the_cause_of_a_failed_upload_is_what_is_told() -> None:
    with pytest.raises(PADHubError, match="cannot be reached for 'org/name': reset"), explained("org/name"):
        raise RuntimeError("Error while uploading") from ConnectionResetError("reset")
