"""The simulated Hub answers the unmodified client as the Hub does."""

import hashlib
import json
import struct

import pytest

from tests.hub.simulated_hub import SimulatedHub

ADD = """
import sys
from huggingface_hub import CommitOperationAdd, HfApi
repo, path, text = sys.argv[1:]
print(HfApi().create_commit(repo, [CommitOperationAdd(path, text.encode())], commit_message="add").oid)
"""
READ = """
import sys
from pathlib import Path
from huggingface_hub import hf_hub_download
repo, revision = sys.argv[1:]
print(Path(hf_hub_download(repo, "file.txt", revision=revision)).read_text(), end="")
"""


def _safetensors(numbers: int) -> bytes:
    header = json.dumps({"a": {"dtype": "F32", "shape": [numbers], "data_offsets": [0, 4 * numbers]}}).encode()
    return struct.pack("<Q", len(header)) + header + bytes(4 * numbers)


def _outcomes(hub: SimulatedHub, *codes: str, token: str | None = None) -> list[str]:
    """Name and status of the Hub's error that each expression raises, or what it returns."""
    done = hub.run(
        """
import sys
from huggingface_hub import *
from huggingface_hub.errors import HfHubHTTPError
for code in sys.argv[1:]:
    try:
        print(eval(code))
    except HfHubHTTPError as error:
        print(type(error).__name__, error.response.status_code)
""",
        *codes,
        token=token,
    )
    return done.stdout.splitlines()


def test_regular_and_lfs_files_make_the_round_trip_in_one_commit(hub: SimulatedHub) -> None:
    hub.run(
        """
from pathlib import Path
from huggingface_hub import HfApi
api = HfApi()
api.create_repo("org/model")
Path("folder/deep").mkdir(parents=True)
Path("folder/deep/a.txt").write_text("text")
Path("folder/weights.bin").write_bytes(b"\\0\\1" * 4000)
Path("folder/empty.bin").touch()
api.upload_folder(repo_id="org/model", folder_path="folder")
""",
        token="writer-token",
    )
    files = hub.repositories.files("org/model")
    assert files.pop(".gitattributes")
    assert files == {"deep/a.txt": b"text", "weights.bin": b"\0\1" * 4000, "empty.bin": b""}
    assert hub.repositories.titles("org/model") == ["Upload folder using huggingface_hub", "initial commit"]
    assert [one.path.split("/")[1] for one in hub.matching("PUT")] == ["storage"]
    back = hub.run(
        """
import json
from pathlib import Path
from huggingface_hub import snapshot_download
folder = Path(snapshot_download("org/model"))
print(json.dumps({str(path.relative_to(folder)): path.stat().st_size for path in folder.rglob("*") if path.is_file()}))
"""
    )
    sizes = {path: len(content) for path, content in hub.repositories.files("org/model").items()}
    assert json.loads(back.stdout) == sizes


def test_an_unchanged_file_is_not_sent_again(hub: SimulatedHub) -> None:
    hub.repositories.create("org/model", files={"weights.bin": b"same", "a.txt": b"same"})
    for path in ("weights.bin", "a.txt"):
        hub.run(ADD, "org/model", path, "same", token="writer-token")
    assert len(hub.repositories.titles("org/model")) == 2
    assert not hub.matching("PUT")


def test_branches_tags_and_commit_ids_name_revisions(hub: SimulatedHub) -> None:
    hub.repositories.create("org/model", files={"file.txt": b"first"})
    first = hub.repositories.head("org/model")
    told = hub.run(
        """
from huggingface_hub import HfApi
api = HfApi()
api.create_branch("org/model", branch="dev/x")
api.create_tag("org/model", tag="v1")
api.upload_file(path_or_fileobj=b"second", path_in_repo="file.txt", repo_id="org/model", revision="dev/x")
refs = api.list_repo_refs("org/model")
print(*[f"{ref.name}={ref.target_commit}" for ref in refs.branches + refs.tags])
""",
        token="writer-token",
    )
    second = hub.repositories.head("org/model", "dev/x")
    assert told.stdout.split() == [f"main={first}", f"dev/x={second}", f"v1={first}"]
    for revision, text in (
        ("main", "first"),
        ("v1", "first"),
        (first, "first"),
        ("dev/x", "second"),
        (second, "second"),
    ):
        assert hub.run(READ, "org/model", revision).stdout == text


def test_what_is_missing_has_the_error_of_its_kind(hub: SimulatedHub) -> None:
    hub.repositories.create("org/model", files={"a.txt": b""})
    errors = {
        'hf_hub_download("org/model", "no.txt")': "RemoteEntryNotFoundError 404",
        'hf_hub_download("org/model", "a.txt", revision="no")': "RevisionNotFoundError 404",
        'snapshot_download("org/model", revision="no")': "RevisionNotFoundError 404",
        'hf_hub_download("org/no", "a.txt")': "RepositoryNotFoundError 401",
        'list(HfApi().list_repo_tree("org/model", "no"))': "RemoteEntryNotFoundError 404",
        'HfApi().model_info("org/no", token="reader-token")': "RepositoryNotFoundError 404",
        'HfApi().model_info("org/model", token="unheard-of")': "HfHubHTTPError 401",
    }
    assert dict(zip(errors, _outcomes(hub, *errors), strict=True)) == errors


def test_a_private_repository_is_there_only_for_its_owners(hub: SimulatedHub) -> None:
    hub.repositories.create("org/model", private=True, files={"file.txt": b"secret"})
    codes = ('hf_hub_download("org/model", "file.txt")', 'HfApi().model_info("org/model")')
    assert _outcomes(hub, *codes) == ["RepositoryNotFoundError 401"] * 2
    assert _outcomes(hub, *codes, token="stranger-token") == ["RepositoryNotFoundError 404"] * 2
    assert hub.run(READ, "org/model", "main", token="reader-token").stdout == "secret"


@pytest.mark.parametrize(("token", "status"), [(None, 401), ("reader-token", 403), ("stranger-token", 403)])
def test_writing_takes_a_write_token_of_an_owner(hub: SimulatedHub, token: str | None, status: int) -> None:
    hub.repositories.create("org/model")
    head = hub.repositories.head("org/model")
    codes = (
        'HfApi().create_repo("org/other")',
        'HfApi().upload_file(path_or_fileobj=b"x", path_in_repo="x.bin", repo_id="org/model")',
        'HfApi().create_branch("org/model", branch="dev")',
        'HfApi().create_tag("org/model", tag="v1")',
    )
    assert _outcomes(hub, *codes, token=token) == [f"HfHubHTTPError {status}"] * len(codes)
    assert "org/other" not in hub.repositories
    assert hub.repositories.head("org/model") == head


def test_that_a_name_is_another_ones_is_noticed_at_the_first_commit(hub: SimulatedHub) -> None:
    hub.repositories.create("org/model")
    codes = (
        'HfApi().create_repo("org/model", exist_ok=True)',
        'HfApi().upload_file(path_or_fileobj=b"x", path_in_repo="x.txt", repo_id="org/model")',
    )
    assert _outcomes(hub, *codes, token="stranger-token") == [f"{hub.url}/org/model", "HfHubHTTPError 403"]


def test_a_taken_name_is_reported_with_its_address(hub: SimulatedHub) -> None:
    hub.repositories.create("org/model")
    codes = ('HfApi().create_repo("org/model")', 'HfApi().create_repo("org/model", exist_ok=True)')
    assert _outcomes(hub, *codes, token="writer-token") == ["HfHubHTTPError 409", f"{hub.url}/org/model"]


def test_a_commit_is_refused_when_another_came_first(hub: SimulatedHub) -> None:
    hub.repositories.create("org/model", files={"a.txt": b"1"})
    seen = hub.repositories.head("org/model")
    hub.repositories.commit("org/model", {"a.txt": b"2"})
    addition = f'[CommitOperationAdd("a.txt", b"3")], commit_message="late", parent_commit="{seen}"'
    code = f'HfApi().create_commit("org/model", {addition})'
    assert _outcomes(hub, code, token="writer-token") == ["HfHubHTTPError 412"]
    assert hub.repositories.files("org/model")["a.txt"] == b"2"


def test_a_commit_happens_whole_or_not_at_all(hub: SimulatedHub) -> None:
    hub.repositories.create("org/model", files={"a.txt": b"1"})
    head = hub.repositories.head("org/model")
    operations = '[CommitOperationAdd("b.txt", b"2"), CommitOperationDelete("no.txt")], commit_message="half"'
    code = f'HfApi().create_commit("org/model", {operations})'
    assert _outcomes(hub, code, token="writer-token") == ["RemoteEntryNotFoundError 404"]
    assert hub.repositories.head("org/model") == head


def test_an_outsider_may_open_a_pull_request(hub: SimulatedHub) -> None:
    hub.repositories.create("org/model", files={"a.bin": b"1"})
    done = hub.run(
        """
from huggingface_hub import *
operations = [CommitOperationDelete("a.bin"), CommitOperationAdd("b.bin", b"2")]
commit = HfApi().create_commit("org/model", operations, commit_message="better", create_pr=True)
print(commit.pr_revision, HfApi().list_repo_files("org/model", revision=commit.pr_revision))
""",
        token="stranger-token",
    )
    assert done.stdout.strip() == "refs/pr/1 ['.gitattributes', 'b.bin']"
    assert "a.bin" in hub.repositories.files("org/model")


def test_a_file_is_named_by_the_hash_that_the_hub_gives_it(hub: SimulatedHub) -> None:
    hub.repositories.create("org/model", files={"a.txt": b"hello\n", "a.bin": b"hello\n"})
    done = hub.run(
        """
from huggingface_hub import *
for path in ("a.txt", "a.bin"):
    found = get_hf_file_metadata(hf_hub_url("org/model", path))
    print(found.etag, found.size, found.commit_hash)
"""
    )
    head = hub.repositories.head("org/model")
    of_git = "ce013625030ba8dba906f756967f9e9ca394464a"  # of `echo hello | git hash-object --stdin`
    of_content = hashlib.sha256(b"hello\n").hexdigest()
    assert done.stdout.split() == [of_git, "6", head, of_content, "6", head]


def test_reading_tensor_shapes_moves_headers_only(hub: SimulatedHub) -> None:
    weights = _safetensors(1_000_000)
    hub.repositories.create("org/single", files={"model.safetensors": weights})
    index = json.dumps({"metadata": {}, "weight_map": {"a": "one.safetensors", "b": "two.safetensors"}}).encode()
    shards = {"one.safetensors": weights, "two.safetensors": weights}
    hub.repositories.create("org/sharded", files={"model.safetensors.index.json": index, **shards})
    codes = [f'HfApi().get_safetensors_metadata("org/{name}").parameter_count' for name in ("single", "sharded")]
    assert _outcomes(hub, *codes) == ["{'F32': 1000000}", "{'F32': 2000000}"]
    assert hub.bytes_sent("GET", "*.safetensors") < 3 * 110_000


def test_a_range_holds_the_bytes_asked_for(hub: SimulatedHub) -> None:
    hub.repositories.create("org/model", files={"a.bin": b"0123456789"})
    answers = {
        "2-4": f"206 bytes 2-4/10 {b'234'}",
        "7-": f"206 bytes 7-9/10 {b'789'}",
        "-2": f"206 bytes 8-9/10 {b'89'}",
        "5-99": f"206 bytes 5-9/10 {b'56789'}",
        "10-": "416 bytes */10",
    }
    done = hub.run(
        """
import sys
from huggingface_hub import get_session, hf_hub_url
for asked in sys.argv[1:]:
    answer = get_session().get(hf_hub_url("org/model", "a.bin"), headers={"Range": f"bytes={asked}"})
    content = [answer.content] if answer.is_success else []
    print(answer.status_code, answer.headers["Content-Range"], *content)
""",
        *answers,
    )
    assert dict(zip(answers, done.stdout.splitlines(), strict=True)) == answers


def test_model_info_tells_what_card_and_configuration_say(hub: SimulatedHub) -> None:
    card = b"---\nlicense: mit\ntags: [mine]\n---\n"
    config = b'{"model_type": "bert", "architectures": ["BertForSequenceClassification"]}'
    files = {"README.md": card, "config.json": config, "model.safetensors": _safetensors(3)}
    hub.repositories.create("org/model", files=files)
    done = hub.run(
        """
import json
from huggingface_hub import *
info = HfApi().model_info("org/model", files_metadata=True)
print(info.pipeline_tag, info.library_name, info.card_data.license, info.safetensors.total, info.tags)
print(json.dumps({file.rfilename: file.size for file in info.siblings}))
print(HfApi().model_info("org/model", expand=["sha"]).siblings)
"""
    )
    tags = ["transformers", "bert", "text-classification", "mine", "license:mit"]
    told, sizes, unasked = done.stdout.splitlines()
    assert told == f"text-classification transformers mit 3 {tags}"
    assert json.loads(sizes) == {path: len(content) for path, content in hub.repositories.files("org/model").items()}
    assert unasked == "None"


def test_the_log_counts_what_went_over_the_wire(hub: SimulatedHub) -> None:
    hub.repositories.create("org/model", files={"file.txt": b"x" * 100_000})
    hub.run(ADD, "org/model", "a.bin", "y" * 50_000, token="writer-token")
    hub.run(READ, "org/model", "main")
    assert 100_000 < hub.bytes_sent() < 110_000
    assert 50_000 < hub.bytes_received() < 60_000
    assert hub.bytes_sent("HEAD") < 1_000
    assert {one.user for one in hub.matching("POST")} == {"alice"}
