"""Checkpoints of both families that are not to be trusted, or are none, are refused with the reason."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
from transformers import PreTrainedModel

from padnet_hf import (
    PADBertForSequenceClassification,
    PADBertModel,
    PADNetError,
    PADResNetForImageClassification,
    PADResNetModel,
)
from padnet_hf.errors import PADCheckpointError, PADHubError
from tests.hub.cases import make_dense

one_of_each = pytest.mark.parametrize("case", ["bert-element", "resnet-unit"])
INDEX = "model.safetensors.index.json"


@one_of_each
def test_pickles_are_refused_with_the_reason_and_never_opened(model: PreTrainedModel, saved: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple:
            return Path.touch, (saved / "unpickled",)

    (saved / "model.safetensors").unlink()
    (saved / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb()))
    shards = {"metadata": {}, "weight_map": {"a": "pytorch_model.bin"}}
    (saved / "pytorch_model.bin.index.json").write_text(json.dumps(shards))
    with pytest.raises(PADCheckpointError, match=r"saved' has no model.safetensors.*pytorch_model.bin.*run any code"):
        type(model).from_pretrained(saved)
    for choice in (False, None):
        with pytest.raises(PADNetError, match=f"use_safetensors is {choice}, but .* run any code"):
            type(model).from_pretrained(saved, use_safetensors=choice)
    with pytest.raises((PADNetError, OSError)):
        type(model).from_pretrained(saved / "pytorch_model.bin", config=model.config)
    assert not (saved / "unpickled").exists()


def edit_index(folder: Path, edit: Callable[[dict], object]) -> None:
    index = json.loads((folder / INDEX).read_text())
    edit(index["weight_map"])
    (folder / INDEX).write_text(json.dumps(index))


@one_of_each
@pytest.mark.parametrize("place", ["..", "../other", "/"])
def test_an_index_that_names_a_file_outside_of_the_folder_is_refused(
    model: PreTrainedModel, sharded: Path, place: str
) -> None:
    shard = min(sharded.glob("model-*.safetensors"))
    outside = (sharded / place if place != "/" else sharded.parent / "absolute") / shard.name
    outside.parent.mkdir(exist_ok=True)
    shard.rename(outside)
    named = str(outside) if place == "/" else f"{place}/{shard.name}"
    edit_index(sharded, lambda map: map.update({key: named for key, name in map.items() if name == shard.name}))
    with pytest.raises(PADCheckpointError, match=r"index of the weights .* outside of it"):
        type(model).from_pretrained(sharded)


@one_of_each
def test_a_missing_shard_and_a_broken_index_are_named(model: PreTrainedModel, sharded: Path) -> None:
    min(sharded.glob("model-*.safetensors")).unlink()
    with pytest.raises(PADCheckpointError, match=r"model-00001-of-0000\d\.safetensors' is missing"):
        type(model).from_pretrained(sharded)
    (sharded / INDEX).write_text("{")
    with pytest.raises(PADCheckpointError, match=r"weights in .*sharded' are damaged"):
        type(model).from_pretrained(sharded)


@pytest.mark.parametrize(
    ("family", "pad_class"),
    [
        ("bert", PADBertModel),
        ("bert", PADBertForSequenceClassification),
        ("resnet", PADResNetModel),
        ("resnet", PADResNetForImageClassification),
    ],
)
def test_a_dense_checkpoint_is_refused_and_from_dense_named(family: str, pad_class: type, tmp_path: Path) -> None:
    make_dense(family).save_pretrained(tmp_path)
    with pytest.raises(PADNetError, match=rf"model type '{family}', not of 'pad_{family}': .*from_dense"):
        pad_class.from_pretrained(tmp_path)


@one_of_each
def test_what_is_neither_folder_nor_cached_is_named_at_once(model: PreTrainedModel) -> None:
    with pytest.raises(PADHubError, match=r"'org/nowhere' .* HF_HUB_OFFLINE is set: .*hf download org/nowhere"):
        type(model).from_pretrained("org/nowhere")
