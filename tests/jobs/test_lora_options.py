import sys

import pytest
from transformers import TrainingArguments

from padnet_hf import PADNetError, PartitionConfig
from padnet_hf.jobs.lora_options import LoraOptions, adapter_options

UNIT, ELEMENT = PartitionConfig(granularity="unit"), PartitionConfig()


@pytest.fixture
def training() -> TrainingArguments:
    return TrainingArguments("out", do_train=True, use_cpu=True)


def test_without_lora_nothing_is_asked_for(training: TrainingArguments) -> None:
    assert adapter_options(LoraOptions(), UNIT, training) == {}


def test_what_is_not_given_has_its_default(training: TrainingArguments) -> None:
    plain = {"lora_rank": 8, "lora_alpha": 16.0, "lora_targets": None}
    assert adapter_options(LoraOptions(lora=True), None, training) == plain
    sparse = {"adapter_sparsity": 0.8, "adapter_criterion": "snip", "adapter_scope": "layer"}
    given = LoraOptions(lora=True, lora_rank=4, adapter_sparsity=0.8)
    assert adapter_options(given, UNIT, training) == plain | {"lora_rank": 4} | sparse


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lora_rank": 4}, "--lora_rank 4 has no effect: add --lora"),
        ({"adapter_sparsity": 0.5}, "--adapter_sparsity 0.5 has no effect: add --lora"),
        ({"lora": True, "adapter_criterion": "snip"}, "--adapter_criterion snip has no effect: add --adapter_sparsity"),
        ({"lora": True, "adapter_sparsity": 1.0}, "sparsity is 1.0, but is a share to prune: give a number from 0"),
        ({"lora": True, "adapter_sparsity": 0.5, "adapter_scope": "all"}, "scope is 'all', but must be one of"),
    ],
)
def test_options_without_effect_or_out_of_range_are_refused(
    options: dict[str, object], message: str, training: TrainingArguments
) -> None:
    with pytest.raises(PADNetError, match=message):
        adapter_options(LoraOptions(**options), UNIT, training)


def test_packed_experts_are_refused_before_the_partition(training: TrainingArguments) -> None:
    options = LoraOptions(lora=True, lora_targets=["attention", "experts"])
    for partition in (None, UNIT, PartitionConfig(dynamic_ratio=1.0)):
        assert adapter_options(options, partition, training)["lora_targets"] == ["attention", "experts"]
    with pytest.raises(PADNetError, match=r"--lora_targets experts cannot .*: add --granularity unit, or leave"):
        adapter_options(options, ELEMENT, training)


def test_what_lora_cannot_go_with_is_refused(training: TrainingArguments) -> None:
    training.push_to_hub = True
    with pytest.raises(PADNetError, match=r"--push_to_hub cannot go with --lora.*docs/peft\.md"):
        adapter_options(LoraOptions(lora=True), UNIT, training)
    training.do_train = False
    with pytest.raises(PADNetError, match="makes an adapter by training it: add --do_train"):
        adapter_options(LoraOptions(lora=True), UNIT, training)


def test_without_peft_lora_is_refused_at_once(training: TrainingArguments, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    assert adapter_options(LoraOptions(), UNIT, training) == {}
    with pytest.raises(PADNetError, match=r"not installed: pip install peft"):
        adapter_options(LoraOptions(lora=True), UNIT, training)
