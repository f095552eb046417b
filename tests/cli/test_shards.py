"""Weights in several files, of a language model: every command makes of them what it makes of one file."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from padnet_hf import PADNetError
from tests.cli.test_families import of_words, padnet
from tests.models.samples import set_apart, small_dense, small_pad

PLAIN = {"mlp_bias": False, "num_key_value_heads": 1}
"""What stock architectures with experts have."""


def shards_of(folder: Path, target: Path) -> Path:
    """The same checkpoint in several files."""
    model = AutoModelForCausalLM.from_pretrained(folder)
    model.save_pretrained(target, max_shard_size="8KB")
    of_words().save_pretrained(target)
    assert len(list(target.glob("model-*-of-*.safetensors"))) > 2
    assert not (target / "model.safetensors").exists()
    return target


def weights_in(folder: Path) -> Mapping[str, torch.Tensor]:
    return {name: tensor for path in folder.glob("*.safetensors") for name, tensor in load_file(path).items()}


def assert_same(first: Path, second: Path) -> None:
    weights, others = weights_in(first), weights_in(second)
    assert weights.keys() == others.keys()
    assert all(torch.equal(tensor, others[name]) for name, tensor in weights.items())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A fully dynamic model in one file."""
    model = set_apart(small_pad("llama", "AutoModelForCausalLM", **PLAIN))
    model.save_pretrained(tmp_path / "moe")
    of_words().save_pretrained(tmp_path / "moe")
    return tmp_path / "moe"


def test_a_dense_model_is_upcycled(tmp_path: Path) -> None:
    small_dense("llama", "AutoModelForCausalLM").save_pretrained(tmp_path / "dense")
    for source in (tmp_path / "dense", shards_of(tmp_path / "dense", tmp_path / "shards")):
        torch.manual_seed(0)
        padnet("upcycle", source, tmp_path / f"{source.name} moe")
    assert_same(tmp_path / "dense moe", tmp_path / "shards moe")


def test_a_fully_dynamic_model_is_partitioned(folder: Path, tmp_path: Path) -> None:
    how = ("--criterion", "magnitude", "--granularity", "unit")
    for source in (folder, shards_of(folder, tmp_path / "shards")):
        padnet("partition", source, tmp_path / f"{source.name} pad", *how)
    assert_same(tmp_path / "moe pad", tmp_path / "shards pad")


def test_a_partitioned_model_is_inspected_described_and_exported(folder: Path, tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    padnet("partition", folder, whole, "--criterion", "magnitude", "--granularity", "unit")
    shards = shards_of(whole, tmp_path / "shards")
    told = [json.loads(padnet("inspect", path, "--json", "--values")) for path in (whole, shards)]
    assert [one.pop("num_files") for one in told] == [1, len(list(shards.glob("*.safetensors")))]
    first, second = ({name: one[name] for name in one if name not in ("source", "file_bytes")} for one in told)
    assert first == second
    cards = []
    for path in (whole, shards):
        padnet("card", path)
        cards.append((path / "README.md").read_text().replace(path.name, "NAME"))
        padnet("export", path, tmp_path / f"{path.name} stock", "--format", "transformers")
    assert cards[0] == cards[1]
    assert_same(tmp_path / "whole stock", tmp_path / "shards stock")


def test_a_static_model_becomes_dense(folder: Path, tmp_path: Path) -> None:
    padnet("partition", folder, tmp_path / "static", "--dynamic-ratio", 0)
    for path in (tmp_path / "static", shards_of(tmp_path / "static", tmp_path / "shards")):
        padnet("to-dense", path, tmp_path / f"{path.name} dense")
    assert_same(tmp_path / "static dense", tmp_path / "shards dense")


def test_every_command_that_writes_weights_writes_files_of_the_size_asked_for(folder: Path, tmp_path: Path) -> None:
    small_dense("llama", "AutoModelForCausalLM").save_pretrained(tmp_path / "dense")
    size = ("--max-shard-size", "8KB")
    how = ("--criterion", "magnitude", "--granularity", "unit")
    padnet("upcycle", tmp_path / "dense", tmp_path / "upcycled", *size)
    padnet("partition", folder, tmp_path / "pad", *how, *size)
    padnet("export", tmp_path / "pad", tmp_path / "stock", "--format", "transformers", *size)
    padnet("partition", folder, tmp_path / "static", "--dynamic-ratio", 0, *size)
    padnet("to-dense", tmp_path / "static", tmp_path / "again", *size)
    for name in ("upcycled", "pad", "stock", "static", "again"):
        files = list((tmp_path / name).glob("model-*.safetensors"))
        assert len(files) > 1, name
        largest = max(tensor.nbytes for tensor in weights_in(tmp_path / name).values())
        assert all(path.stat().st_size < max(8_000, largest) + 4_000 for path in files)  # and a header
        AutoModelForCausalLM.from_pretrained(tmp_path / name)


@pytest.mark.parametrize("command", ["upcycle", "partition", "to-dense", "export"])
def test_a_size_that_is_none_is_refused_before_anything_is_read(command: str, tmp_path: Path) -> None:
    options = ("--format", "transformers") if command == "export" else ()
    for size in ("5", "fast", "-1GB", "GB"):
        with pytest.raises(PADNetError, match=f"--max-shard-size is '{size}', but must be a number with KB, MB, GB"):
            padnet(command, "nowhere", tmp_path / "out", f"--max-shard-size={size}", *options)
    if command == "export":
        with pytest.raises(PADNetError, match="--max-shard-size 5GB is for --format transformers"):
            padnet(command, "nowhere", tmp_path / "out", "--max-shard-size", "5GB")
