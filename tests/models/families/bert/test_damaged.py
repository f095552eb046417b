"""Checkpoints in a new process, and checkpoints that do not hold together."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import AlbertConfig, AlbertModel, AutoModelForSequenceClassification, AutoTokenizer

from padnet_hf import PADBertForSequenceClassification, PADNetError
from padnet_hf.method.packing import unpack_mask
from tests.models.damage import edit_config, edit_tensors

Make = Callable[..., PADBertForSequenceClassification]
Move = Callable[[PADBertForSequenceClassification], PADBertForSequenceClassification]
MASK = "bert.encoder.layer.0.intermediate.dense.experts.up_proj.mask_bits"

NEW_PROCESS = """
import sys, torch, padnet_hf
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline
folder = sys.argv[1]
model = AutoModelForSequenceClassification.from_pretrained(folder)
tokenizer = AutoTokenizer.from_pretrained(folder)
inputs = tokenizer("a fine film", return_tensors="pt")
with torch.no_grad():
    logits = model(**inputs).logits
answer = pipeline("text-classification", model=folder)("a fine film")
print(type(model).__name__, type(tokenizer).__name__, logits.tolist(), answer[0]["score"])
"""


@pytest.mark.parametrize("granularity", ["element", "unit"])
def test_auto_classes_and_pipeline_load_it_in_a_new_process_without_a_warning(
    partitioned: Make, trained_apart: Move, minilm_folder: str, granularity: str, tmp_path: Path
) -> None:
    model = trained_apart(partitioned(granularity=granularity)).eval()
    tokenizer = AutoTokenizer.from_pretrained(minilm_folder)
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    with torch.no_grad():
        expected = model(**tokenizer("a fine film", return_tensors="pt")).logits
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", NEW_PROCESS, tmp_path], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    name, tokenizer_name, rest = result.stdout.split(maxsplit=2)
    assert (name, tokenizer_name) == ("PADBertForSequenceClassification", "BertTokenizer")
    logits, score = json.loads(rest.rsplit(maxsplit=1)[0]), float(rest.rsplit(maxsplit=1)[1])
    # Not bit-equal: a file's tensors lie at other addresses, and matrix kernels round by alignment (dense BERT's too).
    torch.testing.assert_close(torch.tensor(logits), expected, rtol=0, atol=1e-5)
    assert score == pytest.approx(expected.softmax(-1).max().item(), abs=1e-5)
    noise = [line for line in result.stderr.splitlines() if line.strip() and "Loading weights" not in line]
    assert noise == []


def test_the_tokenizer_is_found_by_model_type_alone(partitioned: Make, minilm_folder: str, tmp_path: Path) -> None:
    partitioned().save_pretrained(tmp_path)
    for name in ("tokenizer.json", "vocab.txt"):
        (tmp_path / name).write_bytes((Path(minilm_folder) / name).read_bytes())
    assert type(AutoTokenizer.from_pretrained(tmp_path)).__name__ == "BertTokenizer"


@pytest.fixture
def checkpoint(partitioned: Make, tmp_path: Path) -> Path:
    partitioned(granularity="element").save_pretrained(tmp_path)
    return tmp_path


def load(folder: Path) -> object:
    return AutoModelForSequenceClassification.from_pretrained(folder)


def test_a_new_model_of_a_partitioned_configuration_saves_and_loads(partitioned: Make, tmp_path: Path) -> None:
    """Its masks are not those that were recorded, and training it must not end in a checkpoint that nobody can load."""
    model = PADBertForSequenceClassification(partitioned(criterion="random").config)
    model.save_pretrained(tmp_path)
    loaded = load(tmp_path).state_dict()
    assert all(torch.equal(tensor, loaded[name]) for name, tensor in model.state_dict().items())


def test_an_untouched_checkpoint_loads(checkpoint: Path) -> None:
    assert type(load(checkpoint)) is PADBertForSequenceClassification


COUNT = "encoder.layer.0.intermediate.dense.experts.up_proj"


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (
            lambda counts: counts.update({COUNT: counts[COUNT] + 8}),
            "other sizes than its configuration.*dynamic_counts",
        ),
        (lambda counts: counts.update({COUNT: -1}), f"{COUNT}.*-1 is not possible.*0 to 589824"),
        (lambda counts: counts.update({COUNT: 10**12}), f"{COUNT}.*1000000000000 is not possible.*0 to 589824"),
        (lambda counts: counts.update({COUNT: "8"}), f"{COUNT}.*'8' is not possible"),
        (lambda counts: counts.pop(COUNT), f"dynamic_counts.*24 PAD weights.*{COUNT}"),
        (lambda counts: counts.update({"other": 1}), "dynamic_counts.*unknown.*other"),
    ],
    ids=["too many", "negative", "huge", "text", "missing", "unknown"],
)
def test_counts_that_disagree_with_the_tensors_are_refused(checkpoint: Path, edit: Callable, message: str) -> None:
    edit_config(checkpoint, lambda config: edit(config["dynamic_counts"]))
    with pytest.raises(PADNetError, match=f"(?s){message}"):
        load(checkpoint)


def test_a_mask_with_another_number_of_set_bits_is_refused(checkpoint: Path) -> None:
    edit_tensors(checkpoint, lambda tensors: tensors[MASK][0:1].bitwise_xor_(1))
    with pytest.raises(PADNetError, match=r"mask of .*layer\.0.*set bits, but dynamic_counts says \d+"):
        load(checkpoint)


def test_a_mask_with_other_bits_but_the_same_number_is_refused(checkpoint: Path) -> None:
    def swap(tensors: dict[str, Tensor]) -> None:
        bits = unpack_mask(tensors[MASK], 589824)
        one, zero = int(bits.nonzero()[0]), int((~bits).nonzero()[0])
        for position in (one, zero):
            tensors[MASK][position // 8] ^= 1 << (position % 8)

    edit_tensors(checkpoint, swap)
    with pytest.raises(PADNetError, match=r"masks have the hash .* but the partition recorded"):
        load(checkpoint)


@pytest.mark.parametrize("kept", [0.5, 0.0001, 0.0])
def test_a_truncated_file_is_refused(checkpoint: Path, kept: float) -> None:
    file = checkpoint / "model.safetensors"
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(PADNetError, match="damaged"):
        load(checkpoint)


def test_another_number_of_labels_is_named_as_a_cause(checkpoint: Path) -> None:
    with pytest.raises(RuntimeError, match=r"num_labels.*ignore_mismatched_sizes=True"):
        AutoModelForSequenceClassification.from_pretrained(checkpoint, num_labels=3)
    model = AutoModelForSequenceClassification.from_pretrained(checkpoint, num_labels=3, ignore_mismatched_sizes=True)
    assert model.classifier.out_features == 3


def test_from_dense_refuses_another_family() -> None:
    albert = AlbertModel(AlbertConfig(hidden_size=16, num_attention_heads=2, intermediate_size=8, embedding_size=8))
    with pytest.raises(
        PADNetError, match="takes a checkpoint of model type 'bert', but this AlbertModel is of type 'albert'"
    ):
        PADBertForSequenceClassification.from_dense(albert)


def test_to_dense_refuses_copies_that_differ(partitioned: Make, trained_apart: Move) -> None:
    model = trained_apart(partitioned(dynamic_ratio=0.5))
    with pytest.raises(PADNetError, match=r"4 copies of .* differ .* dynamic_ratio=0"):
        model.to_dense()


def test_cached_weights_follow_training(partitioned: Make, batch: dict[str, Tensor], trained_apart: Move) -> None:
    model = partitioned().eval()
    model.cache_built_weights()
    with torch.no_grad():
        before = model(**batch).logits
        assert torch.equal(model(**batch).logits, before)
        trained_apart(model)
        after = model(**batch).logits
        model.cache_built_weights(False)
        assert torch.equal(model(**batch).logits, after)
        assert not torch.equal(before, after)
