"""A saved PAD model of each family."""

from pathlib import Path

import pytest
from transformers import PreTrainedModel

from tests.hub.cases import make_model


@pytest.fixture(params=["bert-element", "bert-unit", "resnet-element", "resnet-unit"])
def case(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def model(case: str) -> PreTrainedModel:
    return make_model(case)


@pytest.fixture
def saved(model: PreTrainedModel, tmp_path: Path) -> Path:
    """Its checkpoint, in one file."""
    model.save_pretrained(tmp_path / "saved")
    return tmp_path / "saved"


@pytest.fixture
def sharded(model: PreTrainedModel, tmp_path: Path) -> Path:
    """Its checkpoint, in several files."""
    model.save_pretrained(tmp_path / "sharded", max_shard_size="300KB")
    return tmp_path / "sharded"
