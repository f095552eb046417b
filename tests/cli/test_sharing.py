"""`card` and `push`, the latter and a remote `inspect` against the simulated Hub, in a process of its own."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from huggingface_hub import ModelCard

from padnet_hf import PADNetError
from tests.cli.samples import Padnet, files_of
from tests.hub.simulated_hub import SimulatedHub

MAIN = """
import contextlib, io, json, sys
from padnet_hf.cli.app import main

told = []
for command in json.loads(sys.argv[1]):
    sys.argv, out, err, code = ["padnet", *command], io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main()
        except SystemExit as ended:
            code = ended.code
    told.append([code, out.getvalue(), err.getvalue()])
sys.__stdout__.write(json.dumps(told))
"""
REPORT = "partition_report.json"
MINE = "# My own title\n\nMy own words.\n"
LEFT_OUT = (
    "checkpoint-3/model.safetensors",
    "training_args.bin",
    "optimizer.pt",
    "state.pth",
    "old.pkl",
    "_unfinished/x",
)


class Shared(NamedTuple):
    hub: SimulatedHub
    folder: Path
    local: dict
    told: list[list]


@pytest.fixture(scope="module")
def shared(padnet: Padnet, partitioned_folders: dict, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    """A folder as a training leaves it, pushed; looked at from there; pushed again by someone who may only read."""
    home = tmp_path_factory.mktemp("shared")
    folder = Path(shutil.copytree(partitioned_folders["bert"], home / "run"))
    local = json.loads(padnet("inspect", folder, "--json"))
    (folder / "README.md").write_text(MINE)
    for name in LEFT_OUT:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"x" * 100)
    hub = SimulatedHub(home / "client")
    commands = [
        ["push", str(folder), "org/pad", "--message", "From the command", "--private"],
        ["inspect", "org/pad", "--json"],
        ["push", str(folder), "org/pad", "--token", "reader-token"],
        ["push", str(folder), "org/other", "--token", "reader-token"],
        ["inspect", "org/pad", "--revision", "missing"],
        ["push", str(folder), "org/asked", "--create-pr"],
        ["push", str(folder), "org/pad", "--revision", "draft"],
    ]
    done = hub.run(MAIN, json.dumps(commands), token="writer-token")
    yield Shared(hub, folder, local, json.loads(done.stdout))
    hub.close()


def test_push_prints_the_commits_url_alone(shared: Shared) -> None:
    code, out, err = shared.told[0]
    head = shared.hub.repositories.head("org/pad")
    assert (code, out, err) == (0, f"{shared.hub.url}/org/pad/commit/{head}\n", "")
    assert shared.hub.repositories.titles("org/pad") == ["From the command", "initial commit"]
    assert shared.hub.repositories["org/pad"].private


def test_push_uploads_the_checkpoint_and_what_describes_it(shared: Shared) -> None:
    files = shared.hub.repositories.files("org/pad")
    beside = {"README.md", "modeling_padnet.py", "partition.png", "partition_report.json", ".gitattributes"}
    assert files.keys() == beside | {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
    assert files["model.safetensors"] == (shared.folder / "model.safetensors").read_bytes()
    assert (shared.folder / "optimizer.pt").exists()
    card = files["README.md"].decode()
    assert "My own words." in card
    assert 'from_pretrained("org/pad")' in card
    assert f"{shared.local['current']['parameters']:,}" in card.replace(" ", "")
    assert ModelCard(card).data.library_name == "transformers"


def test_a_remote_checkpoint_is_seen_as_the_local_one_without_its_weights(shared: Shared) -> None:
    code, out, _ = shared.told[1]
    assert code == 0
    assert json.loads(out) == shared.local | {"source": "org/pad"}
    assert shared.hub.bytes_sent("GET", "*model.safetensors") < shared.local["file_bytes"] / 2


def test_a_token_that_may_only_read_changes_nothing_and_is_said_in_a_line(shared: Shared) -> None:
    for code, out, err in shared.told[2:4]:
        assert (code, out) == (1, "")
        assert err.startswith("error: the token may not write to 'org/")
        assert "take one with write access" in err
        assert err.count("\n") == 1
    assert "org/other" not in shared.hub.repositories


def test_a_revision_that_is_not_there_is_said_in_a_line(shared: Shared) -> None:
    code, out, err = shared.told[4]
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert "'org/pad' has no such revision" in err


def test_pull_requests_and_branches_leave_the_main_one_alone(shared: Shared) -> None:
    assert shared.told[5][:2] == [0, f"{shared.hub.url}/org/asked/discussions/1\n"]
    assert len(shared.hub.repositories["org/asked"].pull_requests) == 1
    assert shared.hub.repositories.titles("org/asked") == ["initial commit"]
    assert shared.told[6][0] == 0
    assert set(shared.hub.repositories["org/pad"].branches) == {"main", "draft"}
    assert shared.hub.repositories.titles("org/pad")[0] == "From the command"


def test_card_writes_card_report_and_picture(padnet: Padnet, partitioned_folders: dict, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(partitioned_folders["resnet"], tmp_path / "run"))
    before = files_of(folder)
    for name in ("partition.png", "partition_report.json"):
        (folder / name).unlink()
    assert padnet("card", folder, "--repository", "org/pad-resnet") == f"{folder / 'README.md'}\n"
    after = files_of(folder)
    card = after.pop("README.md").decode()
    assert after.keys() == before.keys()
    assert after["model.safetensors"] == before["model.safetensors"]
    told = json.loads(padnet("inspect", folder, "--json"))
    assert 'from_pretrained("org/pad-resnet")' in card
    assert f"{told['current']['parameters']:,}" in card
    assert told["record"]["mask_hash"] in card
    assert json.loads(after["partition_report.json"]) == {key: told[key] for key in json.loads(after[REPORT])}


def test_card_keeps_what_the_user_wrote(padnet: Padnet, partitioned_folders: dict, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(partitioned_folders["bert"], tmp_path / "run"))
    padnet("card", folder)
    card = folder / "README.md"
    assert "# run\n" in card.read_text()
    edited = card.read_text().replace("# run\n", "# Mine\n\nWords before.\n") + "\nWords after.\n"
    card.write_text(edited)
    padnet("card", folder)
    assert card.read_text() == edited
    padnet("card", folder, "--repository", "org/new")
    assert "Words before." in card.read_text()
    assert "Words after." in card.read_text()
    assert 'from_pretrained("org/new")' in card.read_text()


def test_a_card_that_cannot_be_read_is_left_alone(padnet: Padnet, partitioned_folders: dict, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(partitioned_folders["bert"], tmp_path / "run"))
    (folder / "README.md").write_text("---\ntags: [unclosed\n---\nmine\n")
    with pytest.raises(PADNetError, match=r"metadata of README\.md cannot be read, mend or remove them"):
        padnet("card", folder)
    assert (folder / "README.md").read_text() == "---\ntags: [unclosed\n---\nmine\n"
