"""DESIGN's invariants 1 to 7 on a real checkpoint, all-MiniLM-L6-v2."""

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import Tensor
from transformers import AutoModel, AutoModelForSequenceClassification, BertForSequenceClassification, BertModel

from padnet_hf import PADBertForSequenceClassification, PADBertModel
from padnet_hf.layers.experts import PADExperts
from padnet_hf.method.layer import pad_weights

GRANULARITIES = ("element", "unit")
RATIOS = (0.0, 0.3, 0.5, 1.0)
IMPLEMENTATIONS = ("eager", "grouped_mm")

Make = Callable[..., PADBertForSequenceClassification]
Move = Callable[[PADBertForSequenceClassification], PADBertForSequenceClassification]


def logits_of(model: torch.nn.Module, batch: dict[str, Tensor]) -> Tensor:
    with torch.no_grad():
        return model.eval()(**batch).logits


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_upcycling_keeps_the_logits(
    upcycled: PADBertForSequenceClassification, batch: dict[str, Tensor], dense_logits: Tensor, implementation: str
) -> None:
    upcycled.set_experts_implementation(implementation)
    assert (logits_of(upcycled, batch) - dense_logits).abs().max() <= 1e-5
    assert dense_logits.abs().max() > 0.5  # the bound above means something


def test_upcycling_keeps_every_hidden_state(minilm_folder: str, batch: dict[str, Tensor]) -> None:
    inputs = {key: value for key, value in batch.items() if key != "labels"}
    stock = BertModel.from_pretrained(minilm_folder).eval()
    ours = PADBertModel.from_dense(minilm_folder, num_experts=2).eval()
    with torch.no_grad():
        expected = stock(**inputs, output_hidden_states=True).hidden_states
        actual = ours(**inputs, output_hidden_states=True).hidden_states
    assert len(actual) == 7
    for ours_state, stock_state in zip(actual, expected, strict=True):
        torch.testing.assert_close(ours_state, stock_state, rtol=1e-4, atol=5e-5)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("ratio", RATIOS)
@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_partitioning_an_upcycled_model_keeps_the_logits(
    partitioned: Make,
    batch: dict[str, Tensor],
    dense_logits: Tensor,
    granularity: str,
    ratio: float,
    implementation: str,
) -> None:
    model = partitioned(dynamic_ratio=ratio, granularity=granularity)
    model.set_experts_implementation(implementation)
    assert (logits_of(model, batch) - dense_logits).abs().max() <= 1e-5


@pytest.mark.parametrize("granularity", GRANULARITIES)
@pytest.mark.parametrize("criterion", ["magnitude", "random"])
def test_other_criteria_keep_the_logits_too(
    partitioned: Make, batch: dict[str, Tensor], dense_logits: Tensor, granularity: str, criterion: str
) -> None:
    model = partitioned(granularity=granularity, criterion=criterion, scope="layer", static_branch="keep")
    assert (logits_of(model, batch) - dense_logits).abs().max() <= 1e-5


@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_ratio_one_is_the_fully_dynamic_model(partitioned: Make, granularity: str) -> None:
    model = partitioned(dynamic_ratio=1, granularity=granularity)
    assert model.is_partitioned
    assert all(weight.is_fully_dynamic for weight in pad_weights(model).values())
    assert model.partition_report().current == model.partition_report().fully_dynamic


@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_ratio_zero_exports_to_a_stock_model(
    partitioned: Make, batch: dict[str, Tensor], dense_logits: Tensor, granularity: str, tmp_path: Path
) -> None:
    stock = partitioned(dynamic_ratio=0, granularity=granularity).to_dense()
    assert type(stock) is BertForSequenceClassification
    assert torch.equal(logits_of(stock, batch), dense_logits)
    stock.save_pretrained(tmp_path)
    reloaded = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    assert type(reloaded) is BertForSequenceClassification
    assert torch.equal(logits_of(reloaded, batch), dense_logits)


def test_copies_that_are_still_equal_export_too(
    partitioned: Make, batch: dict[str, Tensor], dense_logits: Tensor
) -> None:
    stock = partitioned(dynamic_ratio=0.5, granularity="unit").to_dense()
    assert (logits_of(stock, batch) - dense_logits).abs().max() <= 1e-5  # neurons stand in another order


@pytest.mark.parametrize("scope", ["global", "layer"])
@pytest.mark.parametrize("ratio", [0.3, 0.5])
def test_element_counts_are_exact(partitioned: Make, ratio: float, scope: str) -> None:
    weights = pad_weights(partitioned(dynamic_ratio=ratio, scope=scope)).values()
    sizes = [weight.shape.numel() for weight in weights]
    counts = [weight.num_dynamic for weight in weights]
    if scope == "layer":
        assert counts == [round(ratio * size) for size in sizes]
    assert scope == "layer" or sum(counts) == round(ratio * sum(sizes))


@pytest.mark.parametrize("scope", ["global", "layer"])
def test_unit_counts_are_multiples_of_eight(partitioned: Make, scope: str) -> None:
    model = partitioned(dynamic_ratio=0.3, granularity="unit", scope=scope)
    counts = [weight.num_dynamic for name, weight in pad_weights(model).items() if name.endswith("up_proj")]
    assert all(count % 8 == 0 and count >= 8 for count in counts)
    assert sum(counts) == (8 * round(0.3 * 6 * 1536 / 8) if scope == "global" else 6 * 8 * round(0.3 * 1536 / 8))


@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_the_file_is_as_small_as_the_formula_says(partitioned: Make, granularity: str, tmp_path: Path) -> None:
    model = partitioned(dynamic_ratio=0.5, granularity=granularity)
    weights = pad_weights(model).values()
    copies = sum(weight.num_copies * weight.num_dynamic_elements for weight in weights)
    static = sum(weight.shape.numel() - weight.num_dynamic_elements for weight in weights)
    positions = sum(weight.shape.numel() for weight in weights) if granularity == "element" else 0
    phis = sum(weight.phi is not None for weight in weights)
    stored = sum(p.numel() for weight in weights for p in weight.parameters())
    assert stored == copies + static + phis
    rest = model.num_parameters() - stored
    model.save_pretrained(tmp_path)
    formula = 4 * (copies + static + rest) + positions / 8
    assert abs((tmp_path / "model.safetensors").stat().st_size / formula - 1) < 0.01
    assert model.partition_report().current.bytes == pytest.approx(formula, rel=0.001)


@pytest.mark.parametrize("sharded", [False, True], ids=["whole", "sharded"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_a_checkpoint_loads_bit_equal(
    partitioned: Make,
    trained_apart: Move,
    batch: dict[str, Tensor],
    granularity: str,
    dtype: torch.dtype,
    sharded: bool,
    tmp_path: Path,
) -> None:
    model = trained_apart(partitioned(granularity=granularity)).to(dtype)
    expected = logits_of(model, batch)
    model.save_pretrained(tmp_path, max_shard_size="20MB" if sharded else "5GB")
    assert (tmp_path / "model.safetensors.index.json").exists() == sharded
    loaded, info = AutoModelForSequenceClassification.from_pretrained(tmp_path, dtype=dtype, output_loading_info=True)
    assert type(loaded) is PADBertForSequenceClassification
    assert not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    # A file's tensors lie at other addresses, and matrix kernels round by alignment: move them to fresh memory first.
    assert torch.equal(logits_of(copy.deepcopy(loaded), batch), expected)
    assert loaded.config.partition == model.config.partition


def test_the_bare_model_loads_from_a_checkpoint_with_a_head(
    partitioned: Make, trained_apart: Move, batch: dict[str, Tensor], tmp_path: Path
) -> None:
    model = trained_apart(partitioned()).eval()
    model.save_pretrained(tmp_path)
    bare = copy.deepcopy(AutoModel.from_pretrained(tmp_path)).eval()
    inputs = {key: value for key, value in batch.items() if key != "labels"}
    with torch.no_grad():
        assert torch.equal(bare(**inputs).pooler_output, model.bert(**inputs).pooler_output)


def test_masks_are_stored_as_bits(partitioned: Make, tmp_path: Path) -> None:
    partitioned(granularity="element").save_pretrained(tmp_path)
    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        names = list(file.keys())
        masks = [file.get_slice(name) for name in names if name.endswith("mask_bits")]
        assert {mask.get_dtype() for mask in masks} == {"U8"}
    assert len(masks) == 24


def one_token_at_a_time(self: PADExperts, hidden: Tensor, index: Tensor, weights: Tensor) -> Tensor:
    """The paper's formula for one token after the other: sum_k g_k FFN_k(x), every copy built in full."""
    up, down = self.up_proj.build(), self.down_proj.build()
    up_bias, down_bias = self.up_proj_bias.build(), self.down_proj_bias.build()
    rows = []
    for token, experts, gates in zip(hidden, index.tolist(), weights, strict=True):
        parts = [
            gate * (down[e] @ self.act_fn(up[e] @ token + up_bias[e]) + down_bias[e])
            for e, gate in zip(experts, gates, strict=True)
        ]
        rows.append(torch.stack(parts).sum(dim=0))
    return torch.stack(rows)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_logits_and_every_gradient_equal_the_slow_loop(
    partitioned: Make,
    trained_apart: Move,
    batch: dict[str, Tensor],
    monkeypatch: pytest.MonkeyPatch,
    granularity: str,
    implementation: str,
) -> None:
    model = trained_apart(partitioned(granularity=granularity)).eval()
    model.set_experts_implementation(implementation)

    def run() -> tuple[Tensor, dict[str, Tensor | None]]:
        model.zero_grad()
        output = model(**batch)
        output.loss.backward()
        return output.logits.detach(), {name: p.grad for name, p in model.named_parameters()}

    logits, gradients = run()
    monkeypatch.setattr(PADExperts, "forward", one_token_at_a_time)
    slow_logits, slow_gradients = run()
    torch.testing.assert_close(logits, slow_logits, rtol=1e-4, atol=1e-5)
    assert {name for name, g in gradients.items() if g is not None} == {
        n for n, g in slow_gradients.items() if g is not None
    }
    for name, gradient in gradients.items():
        if gradient is not None:
            scale = slow_gradients[name].abs().max()
            slack = 2e-6 if name.endswith("phi") else 1e-7  # phi's is a sum over a whole weight, which nearly cancels
            assert (gradient - slow_gradients[name]).abs().max() <= 1e-3 * scale + slack, name
