"""torch.compile of whole models: one graph for any batch above 1, in evaluation and training."""

import pytest
import torch
from torch import nn
from torch._dynamo.utils import counters
from transformers import PreTrainedModel

from padnet_hf.export.program import random_inputs
from tests.export.models import CASES, small

pytestmark = pytest.mark.slow


def quiet(model: PreTrainedModel) -> PreTrainedModel:
    """In training mode, but without what draws random numbers, which eager and compiled code draw otherwise."""
    for module in model.train().modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        if getattr(module, "noise_weight", None) is not None:
            module.noise_weight = None
    return model


def step(function: PreTrainedModel, model: PreTrainedModel, batch: int) -> list[torch.Tensor]:
    model.zero_grad()
    output = function(**random_inputs(model, batch, 6 + batch), labels=torch.arange(batch) % 3)
    output.loss.backward()
    return [output.logits.detach(), *(p.grad.clone() for p in model.parameters() if p.grad is not None)]


@pytest.mark.parametrize("case", CASES)
def test_models_are_one_graph_with_the_same_logits_and_gradients(case: str) -> None:
    torch.compiler.reset()
    counters.clear()
    model = small(case)
    fast = torch.compile(model, fullgraph=True, dynamic=True, backend="aot_eager")
    for batch in (4, 5, 2):
        inputs = random_inputs(model, batch, 6 + batch)
        with torch.no_grad():
            torch.testing.assert_close(fast(**inputs).logits, model(**inputs).logits, rtol=1e-5, atol=1e-5)
    assert counters["stats"]["unique_graphs"] == 1
    quiet(model)
    for batch in (4, 5):
        eager = step(model, model, batch)  # first: it installs, under a lock, what records the balance loss
        for one, other in zip(step(fast, model, batch), eager, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)
    assert counters["stats"]["unique_graphs"] == 2


@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")  # inductor's own
def test_inductor_gives_the_same_logits() -> None:
    torch.compiler.reset()
    model = small("bert-element")
    fast = torch.compile(model, fullgraph=True, dynamic=True)
    inputs = random_inputs(model, 3, 9)
    with torch.no_grad():
        torch.testing.assert_close(fast(**inputs).logits, model(**inputs).logits, rtol=1e-4, atol=1e-5)
