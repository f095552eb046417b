"""Values that are not numbers are found when they are looked for."""

import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from padnet_hf import relatedness
from padnet_hf.cli.app import app
from padnet_hf.errors import PADCheckpointError
from padnet_hf.hub.values import non_finite
from padnet_hf.method.layer import pad_layers
from tests.hub.cases import make_model
from tests.hub.simulated_hub import SimulatedHub
from tests.models.samples import set_apart

NAME = "classifier.weight"


def spoiled(folder: Path, *, shards: str = "50GB") -> Path:
    model = make_model("bert-element").bfloat16()
    with torch.no_grad():
        model.get_parameter(NAME)[0, :2] = torch.tensor([torch.nan, -torch.inf])
    model.save_pretrained(folder, max_shard_size=shards)
    return folder


@pytest.mark.parametrize("shards", ["50GB", "100KB"])
def test_nan_and_infinite_values_are_counted_by_tensor(tmp_path: Path, shards: str) -> None:
    assert non_finite(str(spoiled(tmp_path, shards=shards))) == {NAME: 2}


def test_the_command_says_so_on_request(tmp_path: Path) -> None:
    folder = str(spoiled(tmp_path / "bad"))
    run = CliRunner().invoke
    assert "NaN" not in run(app, ["inspect", folder]).stdout
    assert f"{NAME}: 2 values are NaN or infinite" in run(app, ["inspect", folder, "--values"]).stdout
    assert json.loads(run(app, ["inspect", folder, "--values", "--json"]).stdout)["not_finite"] == {NAME: 2}
    make_model("resnet-unit").save_pretrained(tmp_path / "good")
    assert "all values are finite" in run(app, ["inspect", str(tmp_path / "good"), "--values"]).stdout


@pytest.mark.parametrize("shards", ["50GB", "100KB"])
def test_how_far_copies_are_apart_is_read_from_the_file_as_from_the_model(tmp_path: Path, shards: str) -> None:
    model = set_apart(make_model("bert-element"))
    model.save_pretrained(tmp_path, max_shard_size=shards)
    run, expected = CliRunner().invoke, relatedness(model)
    found = json.loads(run(app, ["inspect", str(tmp_path), "--relatedness", "--json"]).stdout)["relatedness"]
    assert found == pytest.approx(expected)
    assert list(found) == list(pad_layers(model))
    picture = tmp_path / "apart.png"
    shown = run(app, ["inspect", str(tmp_path), "--relatedness", "--plot", str(picture)]).stdout
    assert all(f"{layer}  {value:.3g}\n" in shown for layer, value in expected.items())
    assert "copies are strangers in some layers" in shown
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    file = spoiled(tmp_path) / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(PADCheckpointError, match=r"model\.safetensors' are damaged"):
        non_finite(str(tmp_path))


def test_a_repository_is_downloaded_for_it(tmp_path: Path, hub: SimulatedHub) -> None:
    files = {path.name: path.read_bytes() for path in spoiled(tmp_path / "bad").iterdir()}
    hub.repositories.create("org/bad", files=files)
    code = "from padnet_hf.hub.values import non_finite; print(non_finite('org/bad'))"
    assert hub.run(code).stdout.strip() == str({NAME: 2})
