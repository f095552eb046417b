"""DESIGN's invariants 1 to 7 over every family and every class, by element and by unit."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors import safe_open
from torch import Tensor, nn
from torch.nn import functional as F

from padnet_hf import PADDynamicConv2d, PartitionConfig, partition
from padnet_hf.layers.experts import PADExperts
from padnet_hf.method.layer import mask_groups, pad_layers, pad_weights
from padnet_hf.models.pad_model import PADModelMixin
from tests.layers.reference import reference_experts
from tests.models.samples import (
    COPIES,
    HEADS,
    IDS,
    MIXTURES,
    MODELS,
    family_of,
    inputs_of,
    labels_of,
    outputs_of,
    pad_class,
    set_apart,
    small_dense,
    small_pad,
    with_equal_copies,
)

every_class = pytest.mark.parametrize(("dense", "auto_class"), MODELS, ids=IDS)
every_head = pytest.mark.parametrize(("dense", "auto_class"), HEADS, ids=[IDS[MODELS.index(pair)] for pair in HEADS])
GRANULARITIES = ("element", "unit")


def upcycled(dense: str, auto_class: str, *, trained: bool = False, **fields: Any) -> tuple[nn.Module, PADModelMixin]:
    """A stock model, and the fully dynamic one made from it; copies differ if asked, where the stock model has them."""
    stock = small_dense(dense, auto_class)
    stock = stock if trained else with_equal_copies(stock)
    return stock, pad_class(dense, auto_class).from_dense(stock, **COPIES[family_of(dense).copies], **fields)


def split(model: PADModelMixin, **fields: Any) -> PADModelMixin:
    """Partition by the loss where the class has one, at random where it has none."""
    inputs = inputs_of(model)
    labels = labels_of(model, inputs)
    criterion = {} if labels else {"criterion": "random"}
    partition(model, [inputs | labels], PartitionConfig(num_rounds=2, **criterion | fields), progress=False)
    return model


def difference(one: nn.Module, other: nn.Module) -> float:
    """The largest one of all outputs, for the same inputs."""
    inputs = inputs_of(one)
    with torch.no_grad():
        pairs = zip(outputs_of(one, **inputs), outputs_of(other, **inputs), strict=True)
        return max((first - second).abs().max().item() for first, second in pairs)


@every_class
def test_upcycling_keeps_all_outputs(dense: str, auto_class: str) -> None:
    stock, model = upcycled(dense, auto_class, trained=True)
    assert type(stock) is model.dense_class
    assert all(weight.is_fully_dynamic for weight in pad_weights(model).values())
    assert difference(stock, model) <= 1e-5
    with torch.no_grad():
        assert max(output.std().item() for output in outputs_of(stock, **inputs_of(stock))) > 0.01


@every_class
@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_partitioning_what_is_upcycled_keeps_all_outputs(dense: str, auto_class: str, granularity: str) -> None:
    stock, model = upcycled(dense, auto_class)
    split(model, dynamic_ratio=0.5, granularity=granularity)
    assert any(weight.phi is not None for weight in pad_weights(model).values())
    assert difference(stock, model) <= 1e-5


@every_class
@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_ratio_one_is_fully_dynamic_and_ratio_zero_is_the_stock_model(
    dense: str, auto_class: str, granularity: str
) -> None:
    stock, model = upcycled(dense, auto_class)
    whole = split(copy.deepcopy(model), dynamic_ratio=1, granularity=granularity)
    assert all(weight.is_fully_dynamic for weight in pad_weights(whole).values())
    assert difference(whole, model) == 0
    static = split(model, dynamic_ratio=0, granularity=granularity)
    again = static.to_dense()
    assert type(again) is type(stock)
    assert again.state_dict().keys() == stock.state_dict().keys()
    assert all(torch.equal(tensor, stock.state_dict()[name]) for name, tensor in again.state_dict().items())
    assert difference(static, again) <= 1e-5


@every_class
@pytest.mark.parametrize("scope", ["global", "layer"])
def test_element_counts_are_exact(dense: str, auto_class: str, scope: str) -> None:
    weights = pad_weights(split(small_pad(dense, auto_class), dynamic_ratio=0.3, scope=scope)).values()
    sizes, counts = [w.shape.numel() for w in weights], [w.num_dynamic for w in weights]
    if scope == "layer":
        assert counts == [round(0.3 * size) for size in sizes]
    else:
        assert sum(counts) == round(0.3 * sum(sizes))


@every_class
@pytest.mark.parametrize("scope", ["global", "layer"])
def test_units_are_whole_blocks_of_eight(dense: str, auto_class: str, scope: str) -> None:
    model = split(small_pad(dense, auto_class), dynamic_ratio=0.3, granularity="unit", scope=scope)
    for group in mask_groups(model, "unit"):
        counts = {weight.num_dynamic for weight in group.weights}
        assert len(counts) == 1
        assert counts.pop() % 8 == 0
        assert all(weight.num_dynamic == 1 for weight in group.followers)


@every_class
@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_a_checkpoint_holds_what_the_formula_says_and_loads_bit_equal(
    dense: str, auto_class: str, granularity: str, tmp_path: Path
) -> None:
    model = set_apart(split(small_pad(dense, auto_class), granularity=granularity))
    model.save_pretrained(tmp_path, max_shard_size="30KB" if granularity == "unit" else "1GB")
    stored = 0
    for file in tmp_path.glob("*.safetensors"):
        with safe_open(file, "pt") as tensors:
            found = {name: tensors.get_tensor(name) for name in tensors.keys()}  # noqa: SIM118
            stored += sum(t.nbytes for name, t in found.items() if name.rsplit(".", 1)[0] in pad_weights(model))
    formula = 0
    for weight in pad_weights(model).values():
        dynamic = weight.num_dynamic_elements
        formula += 4 * (weight.num_copies * dynamic + weight.shape.numel() - dynamic + (weight.phi is not None))
        formula += 0 if weight.mask_bits is None else -(-weight.num_candidates(granularity) // 8)
    assert stored == formula
    load = type(model) if auto_class == "AutoBackbone" else getattr(transformers, auto_class)  # it takes no folder
    loaded, info = load.from_pretrained(tmp_path, output_loading_info=True)
    assert type(loaded) is type(model)
    assert not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    # A file's tensors lie at other addresses, and matrix kernels round by alignment: move them to fresh memory first.
    assert difference(copy.deepcopy(loaded), model) == 0


@every_class
@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_in_bfloat16_too(dense: str, auto_class: str, granularity: str, tmp_path: Path) -> None:
    model = set_apart(split(small_pad(dense, auto_class), granularity=granularity)).to(torch.bfloat16)
    model.save_pretrained(tmp_path)
    loaded = type(model).from_pretrained(tmp_path, dtype=torch.bfloat16)
    expected = model.state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in loaded.state_dict().items())
    inputs = {n: t.to(torch.bfloat16) if t.is_floating_point() else t for n, t in inputs_of(model).items()}
    with torch.no_grad():
        pairs = zip(
            outputs_of(copy.deepcopy(loaded).to(torch.bfloat16), **inputs), outputs_of(model, **inputs), strict=True
        )
        assert all(torch.equal(one, other) for one, other in pairs)


def one_sample_at_a_time(self: PADDynamicConv2d, inputs: Tensor) -> Tensor:
    """The paper's formula for one sample after the other, every kernel built in full."""
    weight = self.weight
    mask = weight.mask()
    if weight.granularity == "unit":
        mask = mask.repeat_interleave(weight.shape[1:].numel())
    dynamic, kernels = mask.view(weight.shape), weight.build()
    samples = []
    for sample, shares in zip(inputs, self.attention(inputs), strict=True):
        mixed = sum(share * kernel for share, kernel in zip(shares, kernels, strict=True))
        samples.append(F.conv2d(sample[None], torch.where(dynamic, mixed, kernels[0]), None, *self.geometry))
    return torch.cat(samples)


@every_head
@pytest.mark.parametrize("granularity", ["fully dynamic", *GRANULARITIES])
def test_logits_and_every_gradient_equal_the_slow_loop(
    dense: str, auto_class: str, granularity: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = small_pad(dense, auto_class)
    if granularity != "fully dynamic":
        split(model, granularity=granularity)
    set_apart(model).double()
    inputs = {n: t.double() if t.is_floating_point() else t for n, t in inputs_of(model).items()}
    inputs |= labels_of(model, inputs)

    def run() -> tuple[list[Tensor], dict[str, Tensor]]:
        model.zero_grad()
        output = model(**inputs)
        output.loss.backward()
        names = ("logits", "start_logits", "end_logits")
        logits = [output[name].detach() for name in names if output.get(name) is not None]
        return logits, {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}

    logits, gradients = run()
    monkeypatch.setattr(PADExperts, "forward", reference_experts)
    monkeypatch.setattr(PADDynamicConv2d, "forward", one_sample_at_a_time)
    slow_logits, slow_gradients = run()
    for one, other in zip(logits, slow_logits, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-6)  # gates are float32
    assert gradients.keys() == slow_gradients.keys()
    weights = {f"{name}.{key}" for name, w in pad_weights(model).items() for key, _ in w.named_parameters()}
    assert any(slow_gradients[name].abs().max() > 1e-6 for name in weights & slow_gradients.keys())
    tolerance = {"rtol": 1e-4, "atol": 5e-7}  # gates are float32, and so are logits in the losses of language models
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, slow_gradients[name], **tolerance, msg=lambda m, n=name: f"{n}: {m}")


@every_class
def test_every_layer_is_counted(dense: str, auto_class: str) -> None:
    report = small_pad(dense, auto_class).partition_report()
    assert [layer.name for layer in report.layers] == list(pad_layers(small_pad(dense, auto_class)))
    assert report.dense.multiply_adds > 0
    assert report.fully_dynamic == report.current
    stock = report.fully_dynamic if dense in MIXTURES else report.dense
    assert stock.parameters == small_dense(dense, auto_class).num_parameters()
