"""DESIGN's invariants 1 to 6, and 7 for a whole model, on basic and bottleneck ResNets."""

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import Tensor
from torch.nn import functional as F
from transformers import AutoModelForImageClassification, ResNetForImageClassification

from padnet_hf import PADDynamicConv2d, PADResNetForImageClassification, PartitionConfig, partition
from padnet_hf.method.layer import pad_weights

GRANULARITIES = ("element", "unit")
RATIOS = (0.0, 0.3, 0.5, 1.0)
ATTENTIONS = ("softmax", "sigmoid")

Make = Callable[..., PADResNetForImageClassification]
Move = Callable[[PADResNetForImageClassification], PADResNetForImageClassification]


def logits_of(model: torch.nn.Module, batch: dict[str, Tensor]) -> Tensor:
    with torch.no_grad():
        return model.eval()(**batch).logits


@pytest.mark.parametrize("attention", ATTENTIONS)
@pytest.mark.parametrize("num_kernels", [1, 3, 4])
def test_upcycling_keeps_the_logits(
    dense: ResNetForImageClassification,
    batch: dict[str, Tensor],
    dense_logits: Tensor,
    attention: str,
    num_kernels: int,
) -> None:
    model = PADResNetForImageClassification.from_dense(dense, attention=attention, num_kernels=num_kernels)
    assert (logits_of(model, batch) - dense_logits).abs().max() <= 1e-5
    assert dense_logits.abs().max() > 0.5  # the bound above means something
    assert (dense_logits[0] - dense_logits[1]).abs().max() > 0.1


def test_upcycling_from_a_folder_keeps_the_logits(
    dense: ResNetForImageClassification, batch: dict[str, Tensor], dense_logits: Tensor, tmp_path: Path
) -> None:
    dense.save_pretrained(tmp_path)
    model = PADResNetForImageClassification.from_dense(tmp_path)
    assert (logits_of(model, batch) - dense_logits).abs().max() <= 1e-5


def test_upcycling_keeps_every_hidden_state(
    dense: ResNetForImageClassification, upcycled: PADResNetForImageClassification, batch: dict[str, Tensor]
) -> None:
    with torch.no_grad():
        expected = dense(**batch, output_hidden_states=True)
        actual = upcycled(**batch, output_hidden_states=True)
    assert len(actual.hidden_states) == 3
    for state, stock_state in zip(actual.hidden_states, expected.hidden_states, strict=True):
        torch.testing.assert_close(state, stock_state, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(actual.loss, expected.loss)


def test_all_convolutions_but_the_stem_are_dynamic(upcycled: PADResNetForImageClassification) -> None:
    plain = [name for name, module in upcycled.named_modules() if isinstance(module, torch.nn.Conv2d)]
    dynamic = [name for name, module in upcycled.named_modules() if isinstance(module, PADDynamicConv2d)]
    assert plain == ["resnet.embedder.embedder.convolution"]
    assert len(dynamic) == {"basic": 8, "bottleneck": 11}[upcycled.config.layer_type]


@pytest.mark.parametrize("attention", ATTENTIONS)
@pytest.mark.parametrize("ratio", RATIOS)
@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_partitioning_an_upcycled_model_keeps_the_logits(
    dense: ResNetForImageClassification,
    batch: dict[str, Tensor],
    dense_logits: Tensor,
    granularity: str,
    ratio: float,
    attention: str,
) -> None:
    model = PADResNetForImageClassification.from_dense(dense, attention=attention)
    config = PartitionConfig(dynamic_ratio=ratio, granularity=granularity)
    partition(model, [batch], config, progress=False)
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
    assert type(stock) is ResNetForImageClassification
    assert torch.equal(logits_of(stock, batch), dense_logits)
    stock.save_pretrained(tmp_path)
    reloaded, info = AutoModelForImageClassification.from_pretrained(tmp_path, output_loading_info=True)
    assert type(reloaded) is ResNetForImageClassification
    assert not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert torch.equal(logits_of(copy.deepcopy(reloaded), batch), dense_logits)


def test_a_model_trained_at_ratio_zero_exports_too(
    partitioned: Make, trained_apart: Move, batch: dict[str, Tensor]
) -> None:
    model = trained_apart(partitioned(dynamic_ratio=0))
    torch.testing.assert_close(logits_of(model.to_dense(), batch), logits_of(model, batch))


@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_kernels_that_are_still_equal_export_too(
    partitioned: Make, batch: dict[str, Tensor], dense_logits: Tensor, granularity: str
) -> None:
    stock = partitioned(granularity=granularity).to_dense()
    assert torch.equal(logits_of(stock, batch), dense_logits)


@pytest.mark.parametrize("scope", ["global", "layer"])
@pytest.mark.parametrize("ratio", [0.3, 0.5])
def test_element_counts_are_exact(partitioned: Make, ratio: float, scope: str) -> None:
    weights = pad_weights(partitioned(dynamic_ratio=ratio, scope=scope)).values()
    sizes = [weight.shape.numel() for weight in weights]
    counts = [weight.num_dynamic for weight in weights]
    if scope == "layer":
        assert counts == [round(ratio * size) for size in sizes]
    else:
        assert sum(counts) == round(ratio * sum(sizes))


@pytest.mark.parametrize("scope", ["global", "layer"])
def test_unit_counts_are_multiples_of_eight_near_the_ratio(partitioned: Make, scope: str) -> None:
    model = partitioned(dynamic_ratio=0.5, granularity="unit", scope=scope)
    weights = pad_weights(model).values()
    assert all(weight.num_dynamic % 8 == 0 and weight.num_dynamic >= 8 for weight in weights)
    if scope == "layer":
        assert all(abs(weight.num_dynamic - 0.5 * weight.shape[0]) <= 4 for weight in weights)
    else:
        block = max(8 * weight.shape[1:].numel() for weight in weights)
        held = sum(weight.num_dynamic_elements for weight in weights)
        assert abs(held - 0.5 * sum(weight.shape.numel() for weight in weights)) <= block


def stored_bytes(model: PADResNetForImageClassification) -> float:
    """Bytes of a checkpoint by DESIGN's formula: E for every dynamic element, one static one, a bit a position."""
    weights = pad_weights(model).values()
    copies = sum(weight.num_copies * weight.num_dynamic_elements for weight in weights)
    static = sum(weight.shape.numel() - weight.num_dynamic_elements for weight in weights)
    positions = sum(weight.num_candidates(weight.granularity) for weight in weights)
    phis = sum(weight.phi is not None for weight in weights)
    stored = sum(p.numel() for weight in weights for p in weight.parameters())
    assert stored == copies + static + phis
    rest = model.num_parameters() - stored
    norms = sum(module.num_features for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d))
    return 4 * (copies + static + rest + 2 * norms) + positions / 8


@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_the_file_is_as_small_as_the_formula_says(granularity: str, tmp_path: Path) -> None:
    sizes = {"layer_type": "basic", "embedding_size": 64, "hidden_sizes": [64, 128], "depths": [2, 2]}
    config = PADResNetForImageClassification.config_class(**sizes)
    model = PADResNetForImageClassification(config)
    settings = PartitionConfig(dynamic_ratio=0.3, granularity=granularity, criterion="random")
    partition(model, None, settings, progress=False)
    model.save_pretrained(tmp_path)
    assert abs((tmp_path / "model.safetensors").stat().st_size / stored_bytes(model) - 1) < 0.01
    assert model.partition_report().current.bytes == pytest.approx(stored_bytes(model), rel=0.001)


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
    model = trained_apart(partitioned(granularity=granularity, dynamic_ratio=0.3)).to(dtype)
    inputs = {"pixel_values": batch["pixel_values"].to(dtype)}
    expected = logits_of(model, inputs)
    model.save_pretrained(tmp_path, max_shard_size="20KB" if sharded else "5GB")
    assert (tmp_path / "model.safetensors.index.json").exists() == sharded
    loaded, info = AutoModelForImageClassification.from_pretrained(tmp_path, dtype=dtype, output_loading_info=True)
    assert type(loaded) is PADResNetForImageClassification
    assert not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    # A file's tensors lie at other addresses, and matrix kernels round by alignment: move them to fresh memory first.
    assert torch.equal(logits_of(copy.deepcopy(loaded), inputs), expected)
    assert loaded.config.partition == model.config.partition


def test_masks_are_stored_as_bits(partitioned: Make, tmp_path: Path) -> None:
    model = partitioned(granularity="unit")
    model.save_pretrained(tmp_path)
    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        masks = {name: file.get_slice(name) for name in file.keys() if name.endswith("mask_bits")}  # noqa: SIM118
        assert {mask.get_dtype() for mask in masks.values()} == {"U8"}
        shapes = {name: mask.get_shape() for name, mask in masks.items()}
    partial = {name: weight for name, weight in pad_weights(model).items() if weight.phi is not None}
    assert shapes == {f"{name}.mask_bits": [weight.shape[0] // 8] for name, weight in partial.items()}


def one_sample_at_a_time(self: PADDynamicConv2d, inputs: Tensor) -> Tensor:
    """The paper's formula for one sample after the other, every kernel built in full."""
    weight = self.weight
    mask = (
        weight.mask() if weight.granularity == "element" else weight.mask().repeat_interleave(weight.shape[1:].numel())
    )
    dynamic, kernels = mask.view(weight.shape), weight.build()
    samples = []
    for sample, shares in zip(inputs, self.attention(inputs), strict=True):
        mixed = sum(share * kernel for share, kernel in zip(shares, kernels, strict=True))
        kernel = torch.where(dynamic, mixed, kernels[0])
        samples.append(F.conv2d(sample[None], kernel, None, *self.geometry))
    return torch.cat(samples)


@pytest.mark.parametrize("attention", ATTENTIONS)
@pytest.mark.parametrize("ratio", RATIOS)
@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_logits_and_every_gradient_equal_the_slow_loop(
    dense: ResNetForImageClassification,
    trained_apart: Move,
    batch: dict[str, Tensor],
    monkeypatch: pytest.MonkeyPatch,
    granularity: str,
    ratio: float,
    attention: str,
) -> None:
    fields = {"attention": attention, "temperature": 3.0, "reduction": 2}  # hidden channels enough that some are alive
    model = PADResNetForImageClassification.from_dense(dense, **fields)
    partition(model, [batch], PartitionConfig(dynamic_ratio=ratio, granularity=granularity), progress=False)
    model = trained_apart(model).double().train()
    inputs = {"pixel_values": batch["pixel_values"].double(), "labels": batch["labels"]}

    def run() -> tuple[Tensor, dict[str, Tensor]]:
        model.zero_grad()
        output = model(**inputs)
        output.loss.backward()
        return output.logits.detach(), {n: p.grad for n, p in model.named_parameters() if p.grad is not None}

    logits, gradients = run()
    monkeypatch.setattr(PADDynamicConv2d, "forward", one_sample_at_a_time)
    slow_logits, slow_gradients = run()
    torch.testing.assert_close(logits, slow_logits, rtol=1e-9, atol=1e-9)
    for name, gradient in slow_gradients.items():
        if ratio == 0 and ".attention." in name:
            assert name not in gradients or not gradients[name].any()
        else:
            torch.testing.assert_close(gradients[name], gradient, rtol=1e-7, atol=1e-9, msg=name)
            assert gradient.any(), name
