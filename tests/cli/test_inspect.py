import json
import resource
import shutil
import struct
from pathlib import Path

import pytest
import torch
from transformers import BertConfig

from padnet_hf import PADBertConfig, PADBertForSequenceClassification, PADNetError
from padnet_hf.errors import PADCheckpointError
from padnet_hf.method.layer import pad_layers
from tests.cli.samples import PAD_CLASSES, Padnet, files_of


@pytest.fixture
def folder(partitioned_folders: dict[str, Path], family: str) -> Path:
    return partitioned_folders[family]


def test_json_holds_the_loaded_models_numbers(padnet: Padnet, folder: Path, family: str) -> None:
    told, model = json.loads(padnet("inspect", folder, "--json")), PAD_CLASSES[family].from_pretrained(folder)
    assert told["current"]["parameters"] == model.num_parameters()
    assert told["file_bytes"] == (folder / "model.safetensors").stat().st_size
    assert told["current"]["bytes"] == pytest.approx(told["file_bytes"], rel=0.01)
    report = model.partition_report()
    assert told["dynamic_ratio"] == report.dynamic_ratio
    assert {layer["name"]: layer["dynamic_ratio"] for layer in told["layers"]} == {
        layer.name: layer.dynamic_ratio for layer in report.layers
    }
    assert [layer["name"] for layer in told["layers"]] == list(pad_layers(model))
    assert told["record"] == model.config.partition
    assert (told["architecture"], told["num_files"], told["dtype"]) == (type(model).__name__, 1, "float32")


def test_the_table_says_what_the_model_is_and_how_it_was_partitioned(padnet: Padnet, folder: Path) -> None:
    shown, told = padnet("inspect", folder), json.loads(padnet("inspect", folder, "--json"))
    record = told["record"]
    for part in (
        str(folder),
        told["architecture"],
        f"{told['current']['parameters']:,} parameters, float32, {told['file_bytes']:,} bytes in 1 file",
        f"{told['dynamic_ratio']:.1%} dynamic, by {record['granularity']} (criterion fisher, rounds 2, samples",
        record["mask_hash"][:12],
        *(layer["name"] for layer in told["layers"]),
    ):
        assert part in shown


def test_a_network_that_is_not_partitioned_is_called_fully_dynamic(padnet: Padnet, dynamic_folders: dict) -> None:
    assert "\nfully dynamic\n" in padnet("inspect", dynamic_folders["bert"])
    told = json.loads(padnet("inspect", dynamic_folders["bert"], "--json"))
    assert (told["dynamic_ratio"], told["record"]) == (1, None)


def test_shards_count_as_one_checkpoint(padnet: Padnet, folder: Path, family: str, tmp_path: Path) -> None:
    PAD_CLASSES[family].from_pretrained(folder).save_pretrained(tmp_path, max_shard_size="200KB")
    whole, sharded = (json.loads(padnet("inspect", path, "--json")) for path in (folder, tmp_path))
    assert sharded["num_files"] == len(list(tmp_path.glob("*.safetensors"))) > 1
    assert sharded["file_bytes"] == sum(path.stat().st_size for path in tmp_path.glob("*.safetensors"))
    assert sharded["current"] == whole["current"]
    assert sharded["layers"] == whole["layers"]


def test_weights_are_not_read(padnet: Padnet, folder: Path, family: str, tmp_path: Path) -> None:
    """The same is said of a file that has nothing but zeros after its header."""
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    content = (copy / "model.safetensors").read_bytes()
    header = 8 + struct.unpack("<Q", content[:8])[0]
    (copy / "model.safetensors").write_bytes(content[:header] + bytes(len(content) - header))
    shown = padnet("inspect", copy)
    assert shown.replace(str(copy), str(folder)) == padnet("inspect", folder)
    with pytest.raises(PADCheckpointError, match=r"set bits|have the hash"):
        PAD_CLASSES[family].from_pretrained(copy)  # as a check that the zeros matter


def test_a_model_of_many_gigabytes_takes_no_memory(padnet: Padnet, tmp_path: Path) -> None:
    dense = BertConfig(hidden_size=1024, intermediate_size=4096, num_hidden_layers=24, num_attention_heads=16)
    config = PADBertConfig.from_dense(dense, num_experts=8)
    with torch.device("meta"):
        model = PADBertForSequenceClassification(config)
    config.architectures = [type(model).__name__]
    config.save_pretrained(tmp_path)
    header, end = {}, 0
    for name, tensor in model.state_dict().items():
        header[name] = {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": [end, end + tensor.nbytes]}
        end += tensor.nbytes
    encoded = json.dumps(header).encode()
    with (tmp_path / "model.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", len(encoded)) + encoded)
        file.truncate(8 + len(encoded) + end)  # a sparse file: nothing of it is on the disk
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    told = json.loads(padnet("inspect", tmp_path, "--json"))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # KB
    assert told["current"]["parameters"] == model.num_parameters() > 1_500_000_000
    assert told["file_bytes"] > 6e9


@pytest.mark.parametrize("suffix", [".png", ".svg", ".PDF"])
def test_a_picture_is_drawn_beside_the_table(padnet: Padnet, folder: Path, tmp_path: Path, suffix: str) -> None:
    picture = tmp_path / f"partition{suffix}"
    assert padnet("inspect", folder, "--plot", picture) == padnet("inspect", folder)
    start = {".png": b"\x89PNG\r\n\x1a\n", ".svg": b"<?xml", ".PDF": b"%PDF"}[suffix]
    assert picture.read_bytes().startswith(start)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("partition.xyz", r"cannot draw to '.*partition\.xyz': give a file that ends in \.png, \.pdf, \.svg"),
        ("partition", r"cannot draw to '.*partition': give a file that ends in"),
        ("missing/partition.png", r"cannot draw to '.*missing/partition\.png': .* a folder that is there"),
    ],
)
def test_pictures_that_cannot_be_drawn(
    padnet: Padnet, partitioned_folders: dict, tmp_path: Path, name: str, message: str
) -> None:
    with pytest.raises(PADNetError, match=message):
        padnet("inspect", partitioned_folders["bert"], "--plot", tmp_path / name)
    assert files_of(tmp_path) == {}


def test_dense_checkpoints_and_missing_ones_are_refused(padnet: Padnet, dense_folders: dict, tmp_path: Path) -> None:
    with pytest.raises(PADCheckpointError, match="bert' is not a PAD checkpoint but a 'bert' model; `padnet upcycle`"):
        padnet("inspect", dense_folders["bert"])
    with pytest.raises(PADCheckpointError, match="is not a PAD checkpoint that can be read"):
        padnet("inspect", tmp_path)
    with pytest.raises(PADNetError, match="'org/missing' is neither a folder nor"):
        padnet("inspect", "org/missing")


def test_a_checkpoint_that_is_cut_off_is_refused(padnet: Padnet, folder: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    content = (copy / "model.safetensors").read_bytes()
    (copy / "model.safetensors").write_bytes(content[:100])
    with pytest.raises(PADCheckpointError, match="damaged"):
        padnet("inspect", copy)
    (copy / "model.safetensors").write_bytes(content[:-1])
    sizes = rf"model\.safetensors' has {len(content) - 1:,} bytes, but its header says {len(content):,}: .* get it"
    for command in (("inspect", copy), ("card", copy), ("push", copy, "org/name")):
        with pytest.raises(PADCheckpointError, match=sizes):
            padnet(*command)
