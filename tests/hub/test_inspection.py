"""What a checkpoint is and takes, from its configuration and headers alone."""

import json
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from padnet_hf import PADBertConfig, PADBertForSequenceClassification, PADNetError
from padnet_hf.hub.inspection import inspect_checkpoint
from padnet_hf.method.layer import pad_weights
from tests.hub.cases import CASES, make_dense, make_model
from tests.hub.published import Published
from tests.hub.simulated_hub import SimulatedHub

INSPECT = """
import json, sys, time
from padnet_hf.hub.inspection import inspect_checkpoint
told = {}
for name in sys.argv[1:]:
    start = time.monotonic()
    repo, _, revision = name.partition("@")
    told[name] = [inspect_checkpoint(repo, revision=revision or None).to_dict(), time.monotonic() - start]
print(json.dumps(told))
"""


@pytest.mark.parametrize("name", CASES)
def test_it_says_of_a_folder_what_the_loaded_model_says(published: Published, name: str, tmp_path: Path) -> None:
    found = inspect_checkpoint(published.save(name, tmp_path / "folder"))
    model = make_model(name)
    assert found.report == model.partition_report()
    assert found.report.current.parameters == published.num_parameters[name]
    weights = [content for path, content in published.files(name).items() if path.endswith(".safetensors")]
    assert (found.file_bytes, found.num_files) == (sum(map(len, weights)), len(weights))
    assert found.dtype == torch.float32
    described = json.loads(json.dumps(found.to_dict()))
    assert described["architecture"] == type(model).__name__
    assert described["base_model"] == f"org/dense-{CASES[name][0]}"


def test_it_says_of_a_repository_what_it_says_of_the_folder(published: Published, tmp_path: Path) -> None:
    published.hub.repositories.create("org/two", files=published.files("bert-full"))
    published.hub.repositories["org/two"].tags["v1"] = published.hub.repositories["org/two"].resolve("main")
    published.hub.repositories.commit("org/two", published.files("bert-element"))
    done = published.hub.run(INSPECT, *(f"org/{name}" for name in CASES), "org/two@v1", home=tmp_path / "home")
    told = json.loads(done.stdout.splitlines()[-1])
    told = {name: found for name, (found, _) in told.items()}
    assert told.pop("org/two@v1") == {**told["org/bert-full"], "source": "org/two"}
    for name in CASES:
        local = inspect_checkpoint(published.save(name, tmp_path / name)).to_dict()
        assert told[f"org/{name}"] == json.loads(json.dumps({**local, "source": f"org/{name}"}))


def test_another_dtype_is_seen(tmp_path: Path) -> None:
    model = make_model("bert-element").bfloat16()
    model.save_pretrained(tmp_path)
    found = inspect_checkpoint(tmp_path)
    assert found.dtype == torch.bfloat16
    assert found.report.current == model.partition_report().current


def _edit_config(folder: Path, **changed: object) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changed}))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda folder: make_dense("bert").save_pretrained(folder),
            "not a PAD checkpoint but a 'bert' model; `padnet up",
        ),
        (lambda folder: (folder / "model.safetensors").unlink(), "lacks weights in safetensors"),
        (lambda folder: (folder / "config.json").unlink(), "is not a PAD checkpoint that can be read"),
        (lambda folder: (folder / "config.json").write_text("{"), "is not a PAD checkpoint that can be read"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"short"), "damaged"),
        (lambda folder: _edit_config(folder, num_experts=8), "have other sizes than its configuration asks for"),
        (lambda folder: _edit_config(folder, num_labels=9), "have other sizes than its configuration asks for"),
        (lambda folder: _edit_config(folder, num_hidden_layers=3, dynamic_counts=None), "are missing"),
        (lambda folder: _edit_config(folder, dynamic_counts={}), "dynamic_counts in the configuration must give"),
        (lambda folder: _edit_config(folder, padnet_hf_version="9.0"), "by padnet_hf 9.0, but installed is"),
        (lambda folder: _edit_config(folder, architectures=["Other"]), "names 'Other', but must be one of"),
        (lambda folder: _edit_config(folder, architectures=None), "but must be one of PADBert"),
    ],
)
def test_what_does_not_hold_together_is_refused(spoil: Callable[[Path], object], message: str, tmp_path: Path) -> None:
    make_model("bert-unit").save_pretrained(tmp_path)
    spoil(tmp_path)
    with pytest.raises(PADNetError, match=message):
        inspect_checkpoint(tmp_path)


def test_a_folder_that_is_not_there_is_no_repository(tmp_path: Path) -> None:
    with pytest.raises(PADNetError, match=r"nowhere' is neither a folder nor a repository's name"):
        inspect_checkpoint(tmp_path / "nowhere")
    with pytest.raises(PADNetError, match=r"'org/nowhere' is neither a folder nor wholly in the cache"):
        inspect_checkpoint("org/nowhere")


def _base_with_eight_experts() -> PADBertForSequenceClassification:
    """BERT-base's shape with half of the feed-forward parameters dynamic, on the meta device."""
    with torch.device("meta"):
        full = PADBertForSequenceClassification(PADBertConfig(num_experts=8))
        counts = {name.removeprefix("bert."): weight.shape.numel() // 2 for name, weight in pad_weights(full).items()}
        config = PADBertConfig(num_experts=8, dynamic_counts=counts, partition={"granularity": "element"})
        config.architectures = [PADBertForSequenceClassification.__name__]
        return PADBertForSequenceClassification(config)


def _all_zero(model: PADBertForSequenceClassification) -> bytes:
    """A weight file of a model on the meta device, in bfloat16."""
    header, start = {}, 0
    for name, tensor in model.state_dict().items():
        dtype, size = ("BF16", 2) if tensor.is_floating_point() else ("U8", 1)
        stop = start + size * tensor.numel()
        header[name] = {"dtype": dtype, "shape": list(tensor.shape), "data_offsets": [start, stop]}
        start = stop
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(start)


@pytest.mark.slow
def test_of_300_million_parameters_on_the_hub_only_the_headers_are_moved(hub: SimulatedHub) -> None:
    model = _base_with_eight_experts()
    weights, config = _all_zero(model), json.dumps(model.config.to_dict()).encode()
    hub.repositories.create("org/large", files={"config.json": config, "model.safetensors": weights})
    done = hub.run(INSPECT, "org/large")
    found, seconds = json.loads(done.stdout.splitlines()[-1])["org/large"]
    assert 300e6 < found["current"]["parameters"] == model.num_parameters() < 320e6
    assert found["file_bytes"] == len(weights) > 600e6
    assert found["dtype"] == "bfloat16"
    assert hub.bytes_sent() + hub.bytes_received() < 1_000_000
    assert seconds < 10
