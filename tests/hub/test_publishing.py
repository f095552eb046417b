"""From a saved checkpoint to a repository: what is written, what is uploaded, in which commits."""

import json
from pathlib import Path
from typing import NamedTuple

import pytest

from padnet_hf.hub import publishing
from padnet_hf.hub.publishing import write_report
from tests.hub.cases import CASES, make_model
from tests.hub.model_card import check_card
from tests.hub.published import Published
from tests.hub.repositories import Repositories
from tests.hub.simulated_hub import SimulatedHub

PUSH = """
import json
from pathlib import Path
from huggingface_hub import EvalResult
from tests.hub.cases import make_model
from padnet_hf import PADNetError
from padnet_hf.hub.publishing import Repository

model, told = make_model("bert-unit"), {}
model.push_to_hub("org/model", max_shard_size="150KB", tags=["mine"])
model.push_to_hub("org/model", commit_message="In one file", commit_description="Why")
model.push_to_hub("org/model")  # nothing is new
accuracy = EvalResult("text-classification", "glue", "GLUE", "accuracy", 0.9)
model.push_to_hub("org/branched", revision="dev", eval_results=[accuracy], private=True)
model.push_to_hub("model")
told["proposed"] = model.push_to_hub("org/theirs", token="stranger-token", create_pr=True).pr_revision
model.save_pretrained("saved", push_to_hub=True, repo_id="org/saved", commit_message="Saved", token="writer-token")
try:
    model.push_to_hub("org/bad-card")
except PADNetError as error:
    told["bad card"] = str(error)

folder = Path("folder")
model.save_pretrained(folder)
(folder / "README.md").write_text("---\\ntags: [a]\\n---\\n")
(folder / "checkpoint-3").mkdir()
for name in ("checkpoint-3/model.safetensors", "_unfinished.README.md", ".hidden", "optimizer.pt", "training_args.bin"):
    (folder / name).write_text("not for the Hub")
Repository("org/folder").upload(folder)
print(json.dumps(told))
"""


class Pushed(NamedTuple):
    repositories: Repositories
    told: dict[str, str]


@pytest.fixture(scope="module")
def pushed(tmp_path_factory: pytest.TempPathFactory) -> Pushed:
    """What a Hub has after many pushes of one model, and what the client was told."""
    hub = SimulatedHub(tmp_path_factory.mktemp("pushed"))
    hub.repositories.create("org/theirs", files={"README.md": b"# Theirs\n"})
    hub.repositories.create("org/bad-card", files={"README.md": b"---\nlicense: my own\n---\n# Theirs\n"})
    done = hub.run(PUSH, token="writer-token")
    hub.close()
    return Pushed(hub.repositories, json.loads(done.stdout.splitlines()[-1]))


FILES = {"README.md", "config.json", "modeling_padnet.py", "partition.png", "partition_report.json", ".gitattributes"}


def test_a_push_is_one_commit(pushed: Pushed) -> None:
    assert pushed.repositories.titles("org/model") == ["In one file", "Upload model", "initial commit"]
    newest = pushed.repositories["org/model"].resolve("main")
    assert newest.description == "Why"


def test_a_later_push_takes_out_the_shards_of_an_earlier_one(pushed: Pushed) -> None:
    repository = pushed.repositories["org/model"]
    newest, before = repository.resolve("main").history()[:2]
    shards = {path for path in before.files if path.startswith("model-")}
    assert len(shards) > 1
    assert before.files.keys() == FILES | shards | {"model.safetensors.index.json"}
    assert newest.files.keys() == FILES | {"model.safetensors"}


def test_a_later_push_keeps_the_tags_of_an_earlier_one(pushed: Pushed) -> None:
    card = pushed.repositories.files("org/model")["README.md"].decode()
    assert check_card(card) == ([], [])
    assert "- mine\n" in card


def test_a_branch_is_made_and_the_main_one_left_alone(pushed: Pushed) -> None:
    repository = pushed.repositories["org/branched"]
    card = repository.branches["dev"].files["README.md"].content.decode()
    assert repository.private
    assert repository.branches["main"].files.keys() == {".gitattributes"}
    assert repository.branches["dev"].files.keys() == FILES | {"model.safetensors"}
    assert "| text-classification | GLUE | accuracy | 0.9 |" in card


def test_a_name_alone_goes_to_the_tokens_owner(pushed: Pushed) -> None:
    card = pushed.repositories.files("alice/model")["README.md"].decode()
    assert '.from_pretrained("alice/model")' in card


def test_a_pull_request_leaves_the_branch(pushed: Pushed) -> None:
    assert pushed.told["proposed"] == "refs/pr/1"
    assert pushed.repositories.files("org/theirs")["README.md"] == b"# Theirs\n"
    proposed = pushed.repositories.files("org/theirs", "refs/pr/1")
    assert proposed["README.md"].startswith(b"---\n")
    assert b"# Theirs" in proposed["README.md"]
    assert "model.safetensors" in proposed


def test_save_pretrained_pushes_too(pushed: Pushed) -> None:
    assert pushed.repositories.titles("org/saved") == ["Saved", "initial commit"]
    assert pushed.repositories.files("org/saved").keys() == FILES | {"model.safetensors"}


def test_a_card_that_the_hub_refuses_stops_the_push(pushed: Pushed) -> None:
    assert "does not take the metadata of README.md" in pushed.told["bad card"]
    assert "must be one of [" in pushed.told["bad card"]
    assert pushed.repositories.titles("org/bad-card") == ["A commit of the test", "initial commit"]


def test_of_a_folder_only_what_belongs_to_the_checkpoint_goes(pushed: Pushed) -> None:
    expected = {"README.md", "config.json", "modeling_padnet.py", "model.safetensors", ".gitattributes"}
    assert pushed.repositories.files("org/folder").keys() == expected


@pytest.mark.parametrize("name", CASES)
def test_the_report_is_that_of_the_model(published: Published, name: str) -> None:
    files = published.files(name)
    report = json.loads(files["partition_report.json"])
    assert report == json.loads(json.dumps(make_model(name).partition_report().to_dict()))
    assert report["current"]["parameters"] == published.num_parameters[name]
    assert ("partition.png" in files) == (report["record"] is not None)


def test_without_matplotlib_there_is_no_picture_but_a_hint(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    monkeypatch.setattr(publishing, "is_matplotlib_available", lambda: False)
    write_report(tmp_path, make_model("bert-unit").partition_report())
    assert [path.name for path in tmp_path.iterdir()] == ["partition_report.json"]
    assert "pip install matplotlib" in caplog.text
