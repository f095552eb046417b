import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from peft import AutoPeftModelForSequenceClassification, PeftModel, get_peft_model
from peft.tuners.lora.layer import ParamWrapper
from torch import Tensor
from transformers import AutoModelForSequenceClassification, PreTrainedModel

from padnet_hf import (
    PADBertForMultipleChoice,
    PADBertForTokenClassification,
    PADNetError,
    PartitionConfig,
    lora_config,
    partition,
)
from padnet_hf.layers.experts import PADExperts
from padnet_hf.layers.wrapped import unwrapped
from tests.adapters.conftest import logits, train
from tests.hub.cases import make_dense
from tests.models.samples import inputs_of, labels_of, small_pad

Adapt = Callable[..., PeftModel]
Data = dict[str, Tensor]


def test_a_fresh_adapter_changes_no_logit(base: PreTrainedModel, adapt: Adapt, data: Data) -> None:
    before = logits(base, data)
    assert torch.equal(logits(adapt(base), data), before)


# What it computes


def slow_deltas(wrapper: ParamWrapper, rank: int, scale: float) -> Tensor:
    """scale * B_e A_e for every expert e, entry by entry, (E, O, I); (O, I) of the static part."""
    a, b = wrapper.lora_A["default"].weight, wrapper.lora_B["default"].weight
    experts = a.shape[0] // rank
    delta = torch.zeros(experts, b.shape[0], a.shape[1])
    for expert in range(experts):
        for k in range(rank):
            delta[expert] += scale * torch.outer(b[:, k * experts + expert], a[expert * rank + k])
    return delta if experts > 1 else delta[0]


@pytest.mark.parametrize("case", ["bert-unit", "bert-full"])
def test_experts_compute_with_their_weights_plus_scaled_b_a(
    case: str, saved: Callable[[str], Path], adapt: Adapt, data: Data
) -> None:
    load = AutoModelForSequenceClassification.from_pretrained
    adapted = adapt(load(saved(case)).eval(), moved=True, targets=["experts"], alpha=6)
    by_hand = load(saved(case)).eval()
    parameters = dict(by_hand.named_parameters())
    num_wrapped = 0
    with torch.no_grad():
        for name, module in adapted.get_base_model().named_modules():
            if isinstance(module, ParamWrapper):
                own = f"{name.replace('.base_layer', '')}.{module.parameter_name}"
                parameters[own] += slow_deltas(module, rank=4, scale=6 / 4)
                num_wrapped += 1
    assert num_wrapped == 2 * (4 if case == "bert-unit" else 2)
    expected = logits(by_hand, data)
    torch.testing.assert_close(logits(adapted, data), expected, rtol=0, atol=1e-6)
    with adapted.disable_adapter():
        assert (logits(adapted, data) - expected).abs().max() > 1e-3


def test_experts_that_are_all_static_have_an_adapter_too(
    saved: Callable[[str], Path], adapt: Adapt, data: Data
) -> None:
    model = AutoModelForSequenceClassification.from_pretrained(saved("bert-full")).eval()
    partition(model, config=PartitionConfig(dynamic_ratio=0), progress=False)
    before = logits(model, data)
    adapted = adapt(model, moved=True, targets=["experts"])
    after = logits(adapted, data)
    assert (after - before).abs().max() > 1e-3
    torch.testing.assert_close(logits(adapted.merge_and_unload(), data), after, rtol=0, atol=1e-6)


def test_one_layer_of_experts_equals_a_loop_over_tokens(saved: Callable[[str], Path], adapt: Adapt) -> None:
    model = AutoModelForSequenceClassification.from_pretrained(saved("bert-unit")).eval()
    adapted = adapt(model, moved=True)
    experts = next(module for module in adapted.modules() if isinstance(module, PADExperts))
    generator = torch.Generator().manual_seed(5)
    hidden, index = torch.randn(6, 64, generator=generator), torch.tensor([[0, 1], [2, 3], [1, 3]] * 2)
    gates = torch.tensor([[0.25, 0.75]] * 6)
    full = {}
    for name in ("up_proj", "up_proj_bias", "down_proj", "down_proj_bias"):
        module, deltas = getattr(experts, name), {}
        weight = unwrapped(module)
        while module is not weight:
            deltas[module.parameter_name] = slow_deltas(module, rank=4, scale=2)
            module = module.base_layer
        scale_dynamic, scale_static = weight.scales()
        if weight.phi is None:
            full[name] = weight.build()
            continue
        dynamic = scale_dynamic * (weight.dynamic + deltas.get("dynamic", 0))
        static = scale_static * (weight.static + deltas.get("static", 0))
        full[name] = torch.cat([dynamic, static.expand(4, *static.shape)], dim=1 + weight.layout.unit_dim)
    expected = torch.zeros_like(hidden)
    for token in range(6):
        for expert, gate in zip(index[token], gates[token], strict=True):
            inner = experts.act_fn(full["up_proj"][expert] @ hidden[token] + full["up_proj_bias"][expert])
            expected[token] += gate * (full["down_proj"][expert] @ inner + full["down_proj_bias"][expert])
    with torch.no_grad():
        torch.testing.assert_close(experts(hidden, index, gates), expected.detach(), rtol=1e-5, atol=1e-6)


def loss_and_gradients(adapted: PeftModel, data: Data) -> list[Tensor]:
    loss = adapted(**data).loss
    matrices = [parameter for name, parameter in adapted.named_parameters() if "lora_" in name]
    return [loss, *torch.autograd.grad(loss, matrices)]


@pytest.mark.parametrize("case", ["bert-unit", "bert-full"])
def test_grouped_products_compute_the_same(base: PreTrainedModel, adapt: Adapt, data: Data) -> None:
    adapted = adapt(base, moved=True)
    expected = loss_and_gradients(adapted, data)
    assert all(value.abs().max() > 0 for value in expected)
    base.set_experts_implementation("grouped_mm")
    torch.testing.assert_close(loss_and_gradients(adapted, data), expected, rtol=1e-4, atol=1e-6)


def test_activation_checkpointing_computes_the_same(base: PreTrainedModel, adapt: Adapt, data: Data) -> None:
    adapted = adapt(base, moved=True)
    expected = loss_and_gradients(adapted, data)
    base.activation_checkpointing_enable()
    for layer in base.bert.encoder.layer:  # without dropout and noise, but as in training
        layer.training = True
    torch.testing.assert_close(loss_and_gradients(adapted, data), expected, rtol=1e-5, atol=1e-7)


def test_training_moves_adapter_routers_and_head_alone(base: PreTrainedModel, adapt: Adapt, data: Data) -> None:
    adapted = adapt(base)
    before = {name: parameter.clone() for name, parameter in adapted.named_parameters()}
    trainable = [p for p in adapted.parameters() if p.requires_grad]
    train(adapted, data, torch.optim.AdamW(trainable, lr=1e-2))
    moved = {name for name, parameter in adapted.named_parameters() if not torch.equal(parameter, before[name])}
    assert moved == {name for name, p in adapted.named_parameters() if p.requires_grad}
    kinds = {re.search(r"lora_[AB]|router|classifier", name)[0] for name in moved}
    assert kinds == {"lora_A", "lora_B", "router", "classifier"}
    assert adapted(**data).balance_loss is not None


def test_the_report_of_an_adapted_model_is_about_its_base(base: PreTrainedModel, adapt: Adapt) -> None:
    before = base.partition_report()
    after = adapt(base).partition_report()
    assert after.dynamic_ratio == before.dynamic_ratio
    assert after.layers[0].current.multiply_adds == before.layers[0].current.multiply_adds


# Files


@pytest.mark.parametrize("way", ["PeftModel", "AutoPeftModel", "AutoModel"])
def test_saved_and_loaded_logits_are_bit_equal(
    way: str, base: PreTrainedModel, adapt: Adapt, data: Data, tmp_path: Path
) -> None:
    adapted = adapt(base, moved=True)
    expected = logits(adapted, data)
    folder = tmp_path / "adapter"
    adapted.save_pretrained(folder)
    if way == "PeftModel":
        stock = AutoModelForSequenceClassification.from_pretrained(base.name_or_path)
        loaded = PeftModel.from_pretrained(stock, folder)
    elif way == "AutoPeftModel":
        loaded = AutoPeftModelForSequenceClassification.from_pretrained(folder)
    else:
        loaded = AutoModelForSequenceClassification.from_pretrained(folder)
    assert torch.equal(logits(loaded.eval(), data), expected)
    sizes = {path.name: path.stat().st_size for path in folder.iterdir()}
    trained = sum(p.numel() for p in adapted.parameters() if p.requires_grad)
    assert 4 * trained < sizes["adapter_model.safetensors"] < 4 * trained + 10_000
    assert "config.json" not in sizes


@pytest.mark.parametrize("is_loaded", [False, True])
def test_merged_it_is_an_ordinary_pad_model(
    is_loaded: bool, base: PreTrainedModel, adapt: Adapt, data: Data, tmp_path: Path
) -> None:
    names, count = set(base.state_dict()), base.num_parameters()
    adapted = adapt(base, moved=True)
    expected = logits(adapted, data)
    record = (base.config.partition, base.config.dynamic_counts)
    if is_loaded:
        adapted.save_pretrained(tmp_path / "adapter")
        adapted = AutoPeftModelForSequenceClassification.from_pretrained(tmp_path / "adapter").eval()
    merged = adapted.merge_and_unload()
    assert (merged.config.partition, merged.config.dynamic_counts) == record
    assert (type(merged), merged.num_parameters()) == (type(base), count)
    assert set(merged.state_dict()) == names
    torch.testing.assert_close(logits(merged, data), expected, rtol=0, atol=1e-6)
    merged.save_pretrained(tmp_path / "merged")
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path / "merged").eval()
    assert torch.equal(logits(loaded, data), logits(merged, data))


def test_transformers_own_adapters_are_saved_alone_and_loaded(
    base: PreTrainedModel, data: Data, tmp_path: Path
) -> None:
    base.add_adapter(lora_config(base, rank=2))
    with torch.no_grad():
        for name, parameter in base.named_parameters():
            if "lora_B" in name:
                parameter.fill_(0.05)
    expected = logits(base, data)
    base.save_pretrained(tmp_path / "adapter")
    assert not (tmp_path / "adapter" / "model.safetensors").exists()
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path / "adapter").eval()
    assert torch.equal(logits(loaded, data), expected)


# The configuration


def test_the_head_is_trained_whatever_the_task(base: PreTrainedModel) -> None:
    tokens = PADBertForTokenClassification(base.config)
    assert lora_config(tokens).task_type == "TOKEN_CLS"
    choice = lora_config(PADBertForMultipleChoice(base.config))
    assert choice.task_type is None
    assert "classifier" in choice.modules_to_save


def test_other_fields_reach_peft(base: PreTrainedModel) -> None:
    config = lora_config(base, use_rslora=True, modules_to_save=["pooler"])
    assert config.use_rslora
    assert {"pooler", "intermediate.dense.router"} <= set(config.modules_to_save)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"rank": 0}, "rank is 0, but must be a whole number of at least 1"),
        ({"rank": 2.5}, "rank is 2.5"),
        ({"alpha": 0}, "alpha is 0, but must be above 0"),
        ({"rank": 65}, r"rank is 65, but \S+ is a matrix of 64 x 64: choose a rank of at most 64"),
    ],
)
def test_values_out_of_range_are_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(PADNetError, match=message):
        lora_config(make_dense("bert"), **{"targets": ["attention"], **fields})


def test_routers_alone_are_no_adapter(base: PreTrainedModel) -> None:
    with pytest.raises(PADNetError, match="nothing for LoRA to adapt: add 'attention'"):
        lora_config(base, targets=["router"])


def test_the_smallest_matrix_limits_the_rank(saved: Callable[[str], Path]) -> None:
    model = AutoModelForSequenceClassification.from_pretrained(saved("bert-unit"))
    projections = [p for n, p in model.named_parameters() if n.endswith(("_proj.dynamic", "_proj.static"))]
    limit = min(size for p in projections for size in p.shape[-2:])
    lora_config(model, rank=limit)
    with pytest.raises(PADNetError, match=f"choose a rank of at most {limit}"):
        lora_config(model, rank=limit + 1)


def test_without_peft_the_error_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(PADNetError, match="pip install peft"):
        lora_config(make_dense("bert"))


@pytest.mark.parametrize("targets", [["attention"], ["attention", "experts"]])
def test_partition_of_an_adapted_model_works_or_says_why_not(targets: list[str]) -> None:
    model = small_pad("bert", "AutoModelForSequenceClassification")
    inputs = inputs_of(model)
    batch = inputs | labels_of(model, inputs)
    adapted = get_peft_model(model, lora_config(model, rank=1, targets=targets))
    before = adapted(**batch).loss
    if "experts" in targets:
        with pytest.raises(PADNetError, match=r"wrapped around .*\.experts\..* call partition\(\) first, then add it"):
            partition(adapted, [batch], progress=False)
        assert torch.equal(adapted(**batch).loss, before)
        return
    partition(adapted, [batch], progress=False)
    assert model.is_partitioned
    adapted(**batch).loss.backward()
    assert all(parameter.grad is not None for name, parameter in adapted.named_parameters() if "lora_B" in name)
