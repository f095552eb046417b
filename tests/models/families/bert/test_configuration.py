"""PADBertConfig refuses what no model can be built from."""

import json
from pathlib import Path

import pytest
from transformers import BertConfig

from padnet_hf import PADBertConfig, PADNetError


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"num_experts": 0}, "num_experts is 0, but must be at least 1"),
        ({"num_experts_per_tok": 0}, "num_experts_per_tok is 0, but must be from 1 to num_experts, which is 8"),
        ({"num_experts": 4, "num_experts_per_tok": 5}, "num_experts_per_tok is 5, but must be from 1 to num_experts"),
        ({"moe_layers": [0, 12]}, r"moe_layers is \[0, 12\].*0 to 11"),
        ({"moe_layers": [-1]}, r"moe_layers is \[-1\]"),
        ({"router_noise_epsilon": -1.0}, "router_noise_epsilon is -1.0, but must be 0 or larger"),
        ({"router_init_std": -0.1}, "router_init_std is -0.1"),
        ({"balance_loss_coef": -0.1}, "balance_loss_coef is -0.1"),
        ({"expert_dropout": 1.0}, "expert_dropout is 1.0, but must be from 0 to below 1"),
        ({"is_decoder": True}, "is_decoder is True"),
        ({"partition": {"granularity": "row"}}, r"partition\['granularity'\] is 'row'"),
    ],
)
def test_a_value_out_of_range_is_named_with_its_range(fields: dict[str, object], message: str) -> None:
    with pytest.raises(PADNetError, match=message):
        PADBertConfig(**fields)


def test_from_dense_takes_every_field_of_the_dense_configuration() -> None:
    stock = BertConfig(hidden_size=48, hidden_act="relu", num_labels=5, layer_norm_eps=1e-5, classifier_dropout=0.2)
    config = PADBertConfig.from_dense(stock, num_experts=4)
    assert (config.hidden_size, config.hidden_act, config.num_labels, config.num_experts) == (48, "relu", 5, 4)
    back = config.to_dense()
    assert type(back) is BertConfig
    differing = {key for key, value in back.to_dict().items() if stock.to_dict()[key] != value}
    assert not differing


def test_labels_may_be_changed_on_the_way_from_dense() -> None:
    config = PADBertConfig.from_dense(
        BertConfig(num_labels=5), id2label={0: "no", 1: "yes"}, label2id={"no": 0, "yes": 1}
    )
    assert config.num_labels == 2
    assert config.id2label == {0: "no", 1: "yes"}


def test_a_misspelt_field_is_not_swallowed() -> None:
    with pytest.raises(PADNetError, match="no field 'num_expert'"):
        PADBertConfig.from_dense(BertConfig(), num_expert=4)


def test_a_configuration_survives_its_file(tmp_path: object) -> None:
    config = PADBertConfig(moe_layers=[1, 2], dynamic_counts={"a": 3}, partition={"granularity": "unit", "seed": 1})
    config.save_pretrained(tmp_path)
    assert PADBertConfig.from_pretrained(tmp_path).to_dict() == config.to_dict()


def test_a_file_says_which_router_it_has_so_that_another_default_changes_no_checkpoint(tmp_path: Path) -> None:
    papers = {"router_noise": True, "router_init_std": 0.0}
    for fields, expected in (({}, {"router_noise": False, "router_init_std": 0.05}), (papers, papers)):
        PADBertConfig(**fields).save_pretrained(tmp_path)
        assert expected.items() <= json.loads((tmp_path / "config.json").read_text()).items()
