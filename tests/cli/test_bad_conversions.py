"""Every mistake is said in one sentence with the value and what to do."""

import json
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from padnet_hf import PADNetError
from padnet_hf.cli.app import app
from tests.cli.samples import Padnet, files_of


@pytest.fixture
def folders(dense_folders: dict, dynamic_folders: dict, partitioned_folders: dict, data: dict) -> dict[str, Path]:
    """Names to use in the commands below."""
    kinds = {"dense": dense_folders, "dynamic": dynamic_folders, "partitioned": partitioned_folders, "data": data}
    return {f"{kind}-{family}": path for kind, found in kinds.items() for family, path in found.items()}


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("upcycle org/missing", r"cannot load 'org/missing': .*; give a folder with config\.json"),
        ("upcycle dynamic-bert", r"takes a checkpoint of model type 'bert', but '.*bert' is of type 'pad_bert'"),
        ("upcycle data-resnet", r"cannot load '.*images': .*; give a folder with config\.json"),
        ("upcycle dense-bert --num-experts 0", r"num_experts is 0, but must be at least 1"),
        (
            "upcycle dense-bert --num-experts-per-tok 9",
            r"num_experts_per_tok is 9, but must be from 1 to num_experts",
        ),
        ("upcycle dense-bert --num-kernels 2", r"PADBertConfig has no field 'num_kernels'; its fields .* num_experts,"),
        ("upcycle dense-resnet --num-kernels 0", r"num_kernels is 0, but must be at least 1"),
        ("upcycle dense-resnet --num-experts 2", r"PADResNetConfig has no field 'num_experts'; .* num_kernels,"),
        ("partition org/missing --criterion random", r"'org/missing' is neither a folder nor"),
        ("partition dense-bert --criterion random", r"is not a PAD checkpoint but a 'bert' model; `padnet upcycle`"),
        (
            "partition partitioned-bert --criterion random",
            r"partitioned already; .* start from the fully dynamic",
        ),
        (
            "partition dynamic-bert --criterion bogus",
            r"criterion is 'bogus', but must be one of 'snip', 'fisher', 'magnitude'",
        ),
        ("partition dynamic-bert --dynamic-ratio 1.5", r"dynamic_ratio is 1\.5, .* from 0 \(all static\) to 1"),
        ("partition dynamic-bert --dynamic-ratio nan", r"dynamic_ratio is nan"),
        ("partition dynamic-bert", r"--criterion snip needs --data to score with; magnitude and random need none"),
        (
            "partition dynamic-bert --criterion random --granularity unit --masks per_copy",
            r"masks 'per_copy' cannot go with granularity 'unit' and static values.*static_values='none'",
        ),
        (
            "partition dynamic-resnet --criterion random --granularity unit --masks per_copy --static-values none",
            r"static values 'none' leave units out, but those of a 'resnet' model are output channels",
        ),
        ("partition dynamic-bert --rounds 0", r"num_rounds is 0, but must be a whole number of at least 1"),
        ("partition dynamic-bert --batches 0", r"num_batches is 0, but must be a whole number of at least 1"),
        ("partition dynamic-bert --seed -1", r"seed is -1, but must be a whole number of at least 0"),
        (
            "partition dynamic-bert --data data-bert --batch-size 0",
            r"calibration batch_size is 0, but must be",
        ),
        ("to-dense dense-bert", r"is not a PAD checkpoint but a 'bert' model"),
        ("to-dense dynamic-bert", r"the 4 copies of .* differ .* partition a fully dynamic model with dynamic_ratio=0"),
        ("to-dense dynamic-resnet", r"the 3 copies of .* differ"),
        ("card org/missing", r"'org/missing' is not a folder: give one with config\.json and model\.safetensors"),
        ("card dense-bert", r"is not a PAD checkpoint but a 'bert' model"),
        ("card data-resnet", r"images' is not a PAD checkpoint that can be read"),
        ("push org/missing org/name", r"'org/missing' is not a folder: give one with config\.json"),
        ("push data-resnet org/name", r"images' is not a PAD checkpoint that can be read"),
        ("push dense-bert org/name", r"is not a PAD checkpoint but a 'bert' model"),
        ("push partitioned-bert a/b/c", r"'a/b/c' is neither a folder nor a repository's name, like 'org/name'"),
    ],
)
def test_mistakes_are_named(padnet: Padnet, folders: dict, tmp_path: Path, command: str, message: str) -> None:
    words = [str(folders.get(word, word)) for word in command.split()]
    before = {name: files_of(path) for name, path in folders.items() if path.is_dir()}
    if words[0] in ("upcycle", "partition", "to-dense"):
        words.insert(2, str(tmp_path / "target"))
    with pytest.raises(PADNetError, match=message) as caught:
        padnet(*words)
    assert len(str(caught.value)) < 600
    assert list(tmp_path.iterdir()) == []
    assert before == {name: files_of(path) for name, path in folders.items() if path.is_dir()}


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--granularity row", "'row' is not one of"),
        ("--max-length 3", "greater than or equal to 4"),
        ("--batches many", "integer"),
    ],
)
def test_values_that_an_option_never_takes(folders: dict, tmp_path: Path, option: str, message: str) -> None:
    source = str(folders["dynamic-bert"])
    done = CliRunner().invoke(app, ["partition", source, str(tmp_path / "target"), *option.split()])
    assert done.exit_code == 2
    assert message in " ".join(done.stderr.split())
    assert done.stdout == ""


def test_a_new_head_does_not_excuse_other_tensors_of_the_wrong_size(
    padnet: Padnet, dense_folders: dict, tmp_path: Path
) -> None:
    config = json.loads((dense_folders["bert"] / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"vocab_size": 99}))
    state = load_file(dense_folders["bert"] / "model.safetensors")
    save_file(state, tmp_path / "model.safetensors", metadata={"format": "pt"})
    message = r"word_embeddings\.weight in '.*' is of shape \(120, 64\), but its config\.json asks for \(99, 64\)"
    with pytest.raises(PADNetError, match=message):
        padnet("upcycle", tmp_path, tmp_path / "target", "--num-labels", 5)


def test_the_card_of_a_checkpoint_without_weights(padnet: Padnet, dynamic_folders: dict, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text((dynamic_folders["bert"] / "config.json").read_text())
    with pytest.raises(PADNetError, match="lacks weights in safetensors"):
        padnet("card", tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"nonsense")
    with pytest.raises(PADNetError, match="damaged"):
        padnet("card", tmp_path)
    assert files_of(tmp_path).keys() == {"config.json", "model.safetensors"}
