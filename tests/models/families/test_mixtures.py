"""Trained mixtures: taken as they were trained, with their own routers and losses, and given back as stock models."""

import copy
import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    DeepseekV3Config,
    DeepseekV3Model,
    GptOssConfig,
    GptOssModel,
    Llama4TextConfig,
    Llama4TextModel,
    MixtralModel,
    NemotronHConfig,
    NemotronHModel,
    PreTrainedModel,
    Qwen2MoeConfig,
    Qwen2MoeModel,
)

from padnet_hf import Experts, PADNetError, PartitionConfig, lora_config, partition, relatedness
from padnet_hf.hub.inspection import inspect_checkpoint
from padnet_hf.hub.model_card import write_card
from padnet_hf.method.layer import pad_weights
from padnet_hf.models.pad_model import PADModelMixin
from padnet_hf.models.registry import family_of, has_family
from tests.models.samples import inputs_of, labels_of, pad_class, set_apart, small_config, small_dense

CAUSAL = "AutoModelForCausalLM"
CASES = [
    ("mixtral", {}),
    ("olmoe", {"norm_topk_prob": False}),
    pytest.param("olmoe", {"norm_topk_prob": True}, marks=pytest.mark.thorough),
    pytest.param("qwen3_moe", {"norm_topk_prob": True}, marks=pytest.mark.thorough),
    pytest.param("qwen3_moe", {"norm_topk_prob": False, "mlp_only_layers": [0]}, marks=pytest.mark.thorough),
]
every_case = pytest.mark.parametrize(("dense", "fields"), CASES)
granularities = pytest.mark.parametrize("granularity", ["element", "unit"])


def labelled(model: PreTrainedModel) -> dict[str, Tensor]:
    inputs = inputs_of(model)
    return inputs | labels_of(model, inputs)


def taken_over(dense: str, **fields: Any) -> tuple[PreTrainedModel, PADModelMixin]:
    stock = small_dense(dense, CAUSAL, **fields)
    return stock, pad_class(dense, CAUSAL).from_dense(stock)


def split(model: PADModelMixin, granularity: str, **fields: Any) -> PADModelMixin:
    config = PartitionConfig.for_model(model, num_rounds=1, granularity=granularity, **fields)
    partition(model, [labelled(model)], config, progress=False)
    return model


@torch.no_grad()
def logits(model: PreTrainedModel) -> Tensor:
    return model(**inputs_of(model)).logits.float()


# Taken over


@every_case
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_model_and_its_folder_give_the_stock_logits(
    dense: str, fields: dict[str, Any], dtype: torch.dtype, tmp_path: Path
) -> None:
    stock = small_dense(dense, CAUSAL, **fields).to(dtype)
    stock.save_pretrained(tmp_path)
    assert "experts.0." in " ".join(stored_names(tmp_path))  # on the disk each expert is by itself
    for source in (stock, tmp_path):
        model = pad_class(dense, CAUSAL).from_dense(source)
        assert model.dtype == dtype
        differ = [not torch.equal(weight.dynamic[0], weight.dynamic[1]) for weight in pad_weights(model).values()]
        assert all(differ)
        assert differ
        torch.testing.assert_close(logits(model), logits(stock), rtol=0, atol=1e-5 if dtype == torch.float32 else 0.02)


def stored_names(folder: Path) -> list[str]:
    with safe_open(folder / "model.safetensors", "pt") as file:
        return list(file.keys())


def test_experts_of_a_checkpoint_are_not_copied_and_those_of_a_model_are_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stock, model = taken_over("mixtral")
    theirs = {parameter.data_ptr() for parameter in stock.parameters()}
    assert not theirs & {parameter.data_ptr() for parameter in model.parameters()}
    stock.save_pretrained(tmp_path)
    loaded: set[int] = set()
    load = PADModelMixin._load_dense.__func__

    def noted(*args: Any) -> PreTrainedModel:
        found = load(*args)
        loaded.update(parameter.data_ptr() for parameter in found.parameters())
        return found

    monkeypatch.setattr(PADModelMixin, "_load_dense", classmethod(noted))
    model = type(model).from_dense(tmp_path)
    assert {parameter.data_ptr() for parameter in model.parameters()} == loaded


@every_case
def test_experts_trained_apart_are_strangers(dense: str, fields: dict[str, Any]) -> None:
    _, model = taken_over(dense, **fields, hidden_size=64, moe_intermediate_size=96, intermediate_size=96)
    found = relatedness(model)
    assert len(found) == 2 - len(fields.get("mlp_only_layers", []))
    assert all(value == pytest.approx(3 / 4, rel=0.02) for value in found.values())


@every_case
@granularities
def test_copies_that_differ_are_weighed_and_compact_checkpoints_are_exact(
    dense: str, fields: dict[str, Any], granularity: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stock, model = taken_over(dense, **fields)
    with caplog.at_level(logging.WARNING, "padnet_hf"):
        split(model, granularity, dynamic_ratio=0.5)
    assert "copies of this model differ" in caplog.text
    record = model.config.partition
    assert (record["criterion"], record["static_values"], record["scope"]) == ("fisher", "fisher", "layer")
    model.save_pretrained(tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert type(loaded) is type(model)
    assert loaded.num_parameters() < 0.9 * stock.num_parameters()
    assert torch.equal(logits(copy.deepcopy(loaded)), logits(model))


def test_static_values_by_use_are_of_the_stock_routers_choice() -> None:
    _, model = taken_over("olmoe")
    copies = {name: weight.dynamic.detach().clone() for name, weight in pad_weights(model).items()}
    gates = model(**inputs_of(model), output_router_logits=True).router_logits
    split(model, "element", static_values="usage", dynamic_ratio=0.0)
    for number, of_layer in enumerate(gates):
        top, index = of_layer.float().softmax(dim=-1).topk(2)
        use = torch.zeros(4).index_add_(0, index.flatten(), top.flatten().detach())
        for key in ("gate_up_proj", "down_proj"):
            name = f"model.layers.{number}.mlp.experts.{key}"
            expected = torch.einsum("e,e...->...", use / use.sum(), copies[name])
            torch.testing.assert_close(pad_weights(model)[name].static, expected, rtol=1e-4, atol=1e-6)


# What stays stock


@every_case
def test_outputs_losses_and_all_gradients_are_the_stock_ones(dense: str, fields: dict[str, Any]) -> None:
    stock, model = taken_over(dense, **fields)
    expected, found = (some.train()(**labelled(some), output_router_logits=True) for some in (stock, model))
    assert type(found) is type(expected)
    assert found.aux_loss > 0
    for name in ("loss", "aux_loss", "logits", "router_logits"):
        torch.testing.assert_close(found[name], expected[name], rtol=1e-5, atol=1e-5)
    expected.loss.backward()
    found.loss.backward()
    gradients = {name.removesuffix(".dynamic"): parameter.grad for name, parameter in model.named_parameters()}
    for name, parameter in stock.named_parameters():
        torch.testing.assert_close(gradients[name], parameter.grad, rtol=1e-4, atol=1e-6)


@every_case
@granularities
@pytest.mark.parametrize("ratio", [0.0, 0.5, 1.0])
def test_every_partition_has_a_stock_model(
    dense: str, fields: dict[str, Any], granularity: str, ratio: float, tmp_path: Path
) -> None:
    stock, model = taken_over(dense, **fields)
    set_apart(split(model, granularity, dynamic_ratio=ratio))
    again = model.to_dense()
    assert type(again) is type(stock)
    assert again.config.to_diff_dict() == stock.config.to_diff_dict()
    assert again.state_dict().keys() == stock.state_dict().keys()
    torch.testing.assert_close(logits(again), logits(model), rtol=0, atol=1e-5)
    again.save_pretrained(tmp_path)
    torch.testing.assert_close(logits(type(stock).from_pretrained(tmp_path)), logits(again), rtol=0, atol=1e-6)


def test_lora_leaves_the_stock_router_alone() -> None:
    _, model = taken_over("mixtral")
    config = lora_config(split(model, "unit"), rank=2)
    assert sorted(config.target_parameters) == [
        f"mlp.experts.{key}.{part}" for key in ("down_proj", "gate_up_proj") for part in ("dynamic", "static")
    ]
    assert config.modules_to_save is None


# What is refused


@pytest.mark.parametrize(
    ("model_class", "config", "place", "reasons"),
    [
        (
            GptOssModel,
            GptOssConfig,
            "layers.*.mlp.experts",
            "has biases, is transposed, has the rows of gates and up projection in turn, has a way of its own to apply",
        ),
        (NemotronHModel, NemotronHConfig, "layers.*.mixer.experts", "has no gates"),
        (Llama4TextModel, Llama4TextConfig, "layers.*.feed_forward.experts", "is no experts module of transformers'"),
    ],
    ids=["gpt_oss", "nemotron_h", "llama4"],
)
def test_experts_of_another_layout_are_refused_with_every_reason(
    model_class: type[PreTrainedModel], config: type, place: str, reasons: str
) -> None:
    with torch.device("meta"):
        model = model_class(config())
    with pytest.raises(PADNetError, match=rf"experts \(\w+\) {reasons}.*experts of another layout cannot be part"):
        Experts(place).find(model)
    assert not has_family(model.config.model_type)
    with pytest.raises(PADNetError, match=rf"type {model.config.model_type!r} has no PAD model: its experts"):
        family_of(model.config.model_type)


@pytest.mark.parametrize(
    ("model_class", "config"), [(Qwen2MoeModel, Qwen2MoeConfig), (DeepseekV3Model, DeepseekV3Config)]
)
def test_the_seam_fits_other_mixtures_of_the_same_layout(model_class: type[PreTrainedModel], config: type) -> None:
    with torch.device("meta"):
        model = model_class(config(num_hidden_layers=4))
    assert Experts("layers.*.mlp.experts").find(model)


def test_a_seam_that_matches_nothing_says_what_is_there() -> None:
    model = MixtralModel(small_config("mixtral").to_dense())
    with pytest.raises(PADNetError, match=r"matches no module of MixtralModel; its experts are called 'layers\.0\.mlp"):
        Experts("layers.*.block_sparse_moe.experts").find(model)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"num_experts": 8}, "num_experts is 8, but the model has 4 experts, which are taken as they were trained"),
        ({"moe_layers": [0]}, "PADMixtralConfig has no field 'moe_layers'"),
        ({"num_experts_per_tok": 5}, "num_experts_per_tok is 5, but must be from 1 to num_experts, which is 4"),
    ],
)
def test_what_only_upcycling_has_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(PADNetError, match=message):
        pad_class("mixtral", CAUSAL).from_dense(small_dense("mixtral", CAUSAL), **given)


@pytest.mark.parametrize("dense", ["mixtral", "llama"])
def test_a_quantised_checkpoint_is_refused_before_its_weights_are_read(dense: str, tmp_path: Path) -> None:
    AutoConfig.for_model(dense).save_pretrained(tmp_path)
    file = tmp_path / "config.json"
    quantised = {"quant_method": "fp8", "weight_block_size": [128, 128]}
    file.write_text(json.dumps({**json.loads(file.read_text()), "quantization_config": quantised}))
    with pytest.raises(PADNetError, match=rf"the '{dense}' model is quantised \(.* of 'fp8'\), but PAD layers"):
        pad_class(dense, CAUSAL).from_dense(tmp_path)


@pytest.mark.parametrize(("dense", "word"), [("mixtral", "Made of"), ("llama", "Upcycled from")])
def test_the_card_says_what_was_done_to_the_base(dense: str, word: str, tmp_path: Path) -> None:
    model = pad_class(dense, CAUSAL).from_dense(small_dense(dense, CAUSAL))
    model.config.base_model = "org/base"
    model.save_pretrained(tmp_path)
    found = inspect_checkpoint(tmp_path)
    card = write_card(tmp_path, found.config, found.report, repository="org/name")
    assert f"{word} [org/base]" in str(card)
