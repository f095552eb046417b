"""What the configurations' plans name, and what models refuse before any process is asked: see test_sharded.py."""

from typing import Any

import pytest
import torch
from transformers import PreTrainedModel
from transformers.distributed import DistributedConfig

from padnet_hf import (
    PADBertConfig,
    PADBertForMaskedLM,
    PADBertModel,
    PADLlamaConfig,
    PADLlamaModel,
    PADMixtralModel,
    PADNetError,
    PADQwen3ForCausalLM,
    PADResNetConfig,
    PADResNetForImageClassification,
)
from padnet_hf.transformers_seams import ALL_PARALLEL_STYLES, replace_layer_number_by_wildcard
from tests.transformers_versions import needs_parallel_styles

pytestmark = needs_parallel_styles


def empty(model_class: type[PreTrainedModel] = PADBertModel, **fields: Any) -> PreTrainedModel:
    with torch.device("meta"):
        return model_class(model_class.config_class(**fields))


@pytest.mark.parametrize("moe_layers", [None, [0, 2]])
@pytest.mark.parametrize(
    ("model_class", "dense"),
    [
        (PADBertForMaskedLM, {"bert.encoder.layer.*.intermediate.dense", "bert.encoder.layer.*.output.dense"}),
        (PADQwen3ForCausalLM, {f"model.layers.*.mlp.{name}_proj" for name in ("gate", "up", "down")}),
    ],
)
def test_every_rule_of_a_plan_names_a_style_and_a_part_of_the_model(
    model_class: type[PreTrainedModel], dense: set[str], moe_layers: list[int] | None
) -> None:
    model = empty(model_class, num_hidden_layers=3, moe_layers=moe_layers)
    parts = [name for name, _ in (*model.named_modules(), *model.named_parameters(remove_duplicate=False))]
    names = set(map(replace_layer_number_by_wildcard, parts))
    for plan in (model.tp_plan, model.ep_plan):
        assert plan.keys() <= names
        assert set(plan.values()) <= set(ALL_PARALLEL_STYLES)
    assert dense & model.tp_plan.keys() == (dense if moe_layers else set())


def test_there_are_no_other_plans() -> None:
    for plan in ("base_model_tp_plan", "base_model_ep_plan"):
        assert not getattr(PADResNetConfig(), plan)
    for config in (PADBertConfig(), PADResNetConfig(), PADLlamaConfig()):
        assert not config.base_model_pp_plan


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"fsdp_size": 2}, "fsdp_size is 2, but PAD models take tp_size and ep_size"),
        ({"dp_replicate_size": 2}, "dp_replicate_size is 2"),
        ({"tp_size": 2, "pp_size": 3}, "pp_size is 3"),
        ({"tp_size": 5}, "12 attention heads cannot be spread evenly over 5 processes"),
    ],
)
def test_what_cannot_be_sharded_so_is_refused(wanted: dict[str, int], message: str) -> None:
    with pytest.raises(PADNetError, match=message):
        PADBertModel.maybe_distribute_model(empty(), DistributedConfig(**wanted), None)


def test_heads_of_keys_and_values_are_spread_too() -> None:
    model = empty(PADLlamaModel, num_attention_heads=8, num_key_value_heads=2, num_hidden_layers=1)
    with pytest.raises(PADNetError, match="2 heads of keys and values cannot be spread evenly over 4 processes"):
        PADLlamaModel.maybe_distribute_model(model, DistributedConfig(tp_size=4), None)


def test_a_resnet_has_nothing_to_shard() -> None:
    model = empty(PADResNetForImageClassification, embedding_size=8, hidden_sizes=[8], depths=[1])
    with pytest.raises(PADNetError, match="PADResNetForImageClassification has no plan for tensor parallelism"):
        PADResNetForImageClassification.maybe_distribute_model(model, DistributedConfig(tp_size=2), None)


def test_trained_mixtures_have_no_plans() -> None:
    model = empty(PADMixtralModel, num_hidden_layers=1)
    with pytest.raises(PADNetError, match="tp_size is 2, but PADMixtralModel has no plan for tensor parallelism"):
        PADMixtralModel.maybe_distribute_model(model, DistributedConfig(tp_size=2), None)
