"""Checkpoints of both families: saved whole or not at all, and the same model when they are loaded."""

import json
import resource
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedModel

from padnet_hf import (
    PADNetError,
)
from tests.hub.cases import logits_of, make_batch, moved

one_of_each = pytest.mark.parametrize("case", ["bert-element", "resnet-unit"])


def check_equal(model: PreTrainedModel, folder: Path, **options: object) -> None:
    loaded = type(model).from_pretrained(folder, **options)
    batch = make_batch(model.config.model_type.removeprefix("pad_"))
    assert torch.equal(logits_of(loaded, batch), logits_of(model, batch))


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_whole_and_sharded_it_loads_bit_equal(model: PreTrainedModel, saved: Path, sharded: Path) -> None:
    assert names(saved) == {"config.json", "model.safetensors", "modeling_padnet.py"}
    assert len(list(sharded.glob("model-*.safetensors"))) > 1
    check_equal(model, saved)
    check_equal(model, sharded)


def test_a_half_precision_checkpoint_loads_bit_equal(model: PreTrainedModel, tmp_path: Path) -> None:
    model.bfloat16().save_pretrained(tmp_path)
    loaded, info = type(model).from_pretrained(tmp_path, output_loading_info=True)
    assert loaded.dtype == torch.bfloat16
    assert not any(info.values())
    assert all(torch.equal(tensor, loaded.state_dict()[name]) for name, tensor in model.state_dict().items())


@one_of_each
def test_files_that_are_links_are_inside(model: PreTrainedModel, sharded: Path, tmp_path: Path) -> None:
    linked = tmp_path / "linked"
    linked.mkdir()
    for path in sharded.iterdir():
        (linked / path.name).symlink_to(path)
    check_equal(model, linked)


@one_of_each
def test_saved_again_with_other_shards_no_earlier_one_stays(model: PreTrainedModel, sharded: Path) -> None:
    (sharded / "notes.txt").write_text("mine")
    model = moved(model, seed=2)
    model.save_pretrained(sharded)
    assert names(sharded) == {"config.json", "model.safetensors", "modeling_padnet.py", "notes.txt"}
    check_equal(model, sharded)
    model = moved(model, seed=3)
    model.save_pretrained(sharded, max_shard_size="300KB")
    assert "model.safetensors" not in names(sharded)
    check_equal(model, sharded)


@pytest.fixture
def disk_of() -> Iterator[Callable[[int | None], None]]:
    """Call it, and no file of this process can grow beyond so many bytes, or beyond any with None."""
    before, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (before if size is None else size, most))
    resource.setrlimit(resource.RLIMIT_FSIZE, (before, most))


@one_of_each
@pytest.mark.parametrize("size", [1_000, 250_000])
def test_a_full_disk_leaves_the_earlier_checkpoint(
    model: PreTrainedModel, saved: Path, disk_of: Callable[[int | None], None], size: int
) -> None:
    before = {path.name: path.read_bytes() for path in saved.iterdir()}
    changed = moved(type(model).from_pretrained(saved), seed=2)
    disk_of(size)  # not even config.json fits, or it does and the weights do not
    with pytest.raises(PADNetError, match=r"(?s)cannot save to .*/saved': .*unchanged. Make room, or give another"):
        changed.save_pretrained(saved)
    disk_of(None)
    assert {path.name: path.read_bytes() for path in saved.iterdir()} == before
    check_equal(model, saved)


@one_of_each
def test_a_file_in_place_of_the_folder_is_refused(model: PreTrainedModel, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("mine")
    with pytest.raises(PADNetError, match="is a file; give a folder"):
        model.save_pretrained(file)
    assert file.read_text() == "mine"


@one_of_each
def test_code_of_the_package_is_never_registered_to_be_copied(model: PreTrainedModel, saved: Path) -> None:
    type(model).register_for_auto_class("AutoModel")
    type(model.config).register_for_auto_class()
    model.save_pretrained(saved)
    assert [path.name for path in saved.glob("*.py")] == ["modeling_padnet.py"]
    auto_map = json.loads((saved / "config.json").read_text())["auto_map"]
    assert {path.split(".")[0] for path in auto_map.values()} == {"modeling_padnet"}
