"""Small PAD models as saved and loaded again, so that an adapter knows where its base lies."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from peft import PeftModel, get_peft_model
from torch import Tensor
from transformers import AutoModelForSequenceClassification, PreTrainedModel

from padnet_hf import lora_config
from tests.hub.cases import make_batch, make_model

CASES = ("bert-unit", "bert-full", "bert-element")


@pytest.fixture
def data() -> dict[str, Tensor]:
    """Three labelled samples."""
    return make_batch("bert")


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def saved(tmp_path: Path) -> Callable[[str], Path]:
    """Folder of a case."""

    def save(case: str) -> Path:
        make_model(case).save_pretrained(tmp_path / case)
        return tmp_path / case

    return save


@pytest.fixture
def base(case: str, saved: Callable[[str], Path]) -> PreTrainedModel:
    """A loaded PAD-BERT in evaluation mode."""
    return AutoModelForSequenceClassification.from_pretrained(saved(case)).eval()


@pytest.fixture
def adapt() -> Callable[..., PeftModel]:
    """A LoRA adapter of rank 4 on a model, in evaluation mode; its B moved from zero if asked for."""

    def make(model: PreTrainedModel, *, moved: bool = False, **fields: object) -> PeftModel:
        torch.manual_seed(3)
        adapted = get_peft_model(model, lora_config(model, **{"rank": 4, "alpha": 8} | fields)).eval()
        if moved:
            move(adapted)
        return adapted

    return make


@torch.no_grad()
def move(model: torch.nn.Module) -> None:
    """Stands for training: every B becomes random, kept entries alone if the adapter is sparse."""
    generator = torch.Generator().manual_seed(4)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            noise = 0.05 * torch.randn(parameter.shape, generator=generator)
            parameter.copy_(torch.where((parameter == 0) & parameter.signbit(), parameter, noise))


def logits(model: torch.nn.Module, data: dict[str, Tensor]) -> Tensor:
    with torch.no_grad():
        return model(**data).logits


def train(model: torch.nn.Module, data: dict[str, Tensor], optimizer: torch.optim.Optimizer, steps: int = 3) -> None:
    model.train()
    for _ in range(steps):
        model(**data).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.eval()
