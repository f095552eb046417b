"""What a model computes depends on its inputs alone: not on padding, the rest of the batch, or much on precision."""

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from padnet_hf import PADBertModel, PADResNetForImageClassification, PartitionConfig, partition
from tests.hub.cases import COPIES, make_batch, make_dense, make_model

TOLERANCES = {torch.bfloat16: 0.06, torch.float16: 0.01}
"""Of logits, as a share of the largest: three digits of a bfloat16 are rounded at every layer."""

of_bert = pytest.mark.parametrize("case", ["bert-element", "bert-unit", "bert-full"])
implementations = pytest.mark.parametrize("implementation", ["eager", "grouped_mm"])


def logits(model: PreTrainedModel, **inputs: Tensor) -> Tensor:
    with torch.no_grad():
        return model(**inputs).logits


@pytest.mark.parametrize("dtype", list(TOLERANCES), ids=str)
def test_half_precision_comes_near_float32(model: PreTrainedModel, dtype: torch.dtype) -> None:
    batch = make_batch(model.config.model_type.removeprefix("pad_"))
    batch.pop("labels")
    exact = logits(model, **batch)
    with torch.autocast("cpu", dtype=dtype):
        under_autocast = logits(model, **batch)
    cast = model.to(dtype)
    in_half = logits(cast, **{n: t.to(dtype) if t.is_floating_point() else t for n, t in batch.items()})
    for found in (under_autocast, in_half):
        assert found.isfinite().all()
        assert (found.float() - exact).abs().max() <= TOLERANCES[dtype] * exact.abs().max()


def test_a_sample_does_not_depend_on_its_batch(model: PreTrainedModel) -> None:
    batch = make_batch(model.config.model_type.removeprefix("pad_"))
    batch.pop("labels")
    together = logits(model, **batch)
    for row in range(len(together)):
        alone = logits(model, **{name: tensor[row : row + 1] for name, tensor in batch.items()})
        torch.testing.assert_close(alone[0], together[row], rtol=0, atol=1e-5)


@of_bert
@implementations
@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_on_either_side_changes_nothing_for_real_tokens(case: str, implementation: str, side: str) -> None:
    model: PADBertModel = make_model(case).bert
    model.set_experts_implementation(implementation)
    tokens = make_batch("bert")["input_ids"]
    length, padding = tokens.shape[1], 4
    positions = torch.arange(length).expand_as(tokens)
    pads = (padding, 0) if side == "left" else (0, padding)

    def hidden(pads: tuple[int, int], pad_token: int) -> Tensor:
        pad = torch.nn.functional.pad
        inputs = {"input_ids": pad(tokens, pads, value=pad_token), "position_ids": pad(positions, pads)}
        with torch.no_grad():
            states = model(**inputs, attention_mask=pad(torch.ones_like(tokens), pads)).last_hidden_state
        return states[:, pads[0] : pads[0] + length]

    bare = hidden((0, 0), 0)
    for pad_token in (0, 77):
        torch.testing.assert_close(hidden(pads, pad_token), bare, rtol=0, atol=1e-5)


@of_bert
@implementations
def test_a_single_token_is_enough(case: str, implementation: str) -> None:
    model = make_model(case)
    model.set_experts_implementation(implementation)
    assert logits(model, input_ids=torch.tensor([[7]])).isfinite().all()


@pytest.mark.parametrize("family", ["bert", "resnet"])
@pytest.mark.parametrize("granularity", ["element", "unit"])
@pytest.mark.parametrize("ratio", [1e-9, 1e-3, 0.999, 1 - 1e-9])
def test_ratios_near_the_ends_keep_the_logits_and_train(family: str, granularity: str, ratio: float) -> None:
    pad_class = {"bert": type(make_model("bert-full")), "resnet": PADResNetForImageClassification}[family]
    model, batch = pad_class.from_dense(make_dense(family), **COPIES[family]), make_batch(family)
    before = logits(model, **batch)
    partition(model, [batch], PartitionConfig(dynamic_ratio=ratio, granularity=granularity), progress=False)
    torch.testing.assert_close(logits(model, **batch), before, rtol=0, atol=1e-5)
    model.train()(**batch).loss.backward()
    assert all(parameter.grad is None or parameter.grad.isfinite().all() for parameter in model.parameters())
