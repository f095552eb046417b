from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    GPT2Config,
    GPT2ForSequenceClassification,
    LlamaConfig,
    LlamaForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
    RobertaConfig,
    RobertaForSequenceClassification,
)

from padnet_hf import (
    PADBertForSequenceClassification,
    PADLlamaForCausalLM,
    PADMixtralForCausalLM,
    PADNetError,
    PartitionConfig,
    partition,
)
from padnet_hf.jobs.command_line import option
from padnet_hf.jobs.layer_options import ExpertOptions
from padnet_hf.jobs.networks import as_network, check_network, size_report, variant_of

HEAD = "AutoModelForSequenceClassification"
SMALL = {"vocab_size": 30, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}


@dataclass
class Pad(ExpertOptions):
    use_moe: bool = option("Fully dynamic.", False)
    dynamic_option: ClassVar[str] = "use_moe"


def test_computed_sizes_are_those_of_the_real_networks() -> None:
    dense = BertForSequenceClassification(BertConfig(**SMALL))
    model = PADBertForSequenceClassification.from_dense(dense)
    fully_dynamic = model.num_parameters()
    batch = {"input_ids": torch.arange(1, 21).reshape(2, 10), "labels": torch.tensor([0, 1])}
    partition(model, [batch], PartitionConfig(granularity="unit"), progress=False)
    for known in (dense, model):
        report = size_report(known, HEAD)
        assert report.dense.parameters == dense.num_parameters()
        assert report.fully_dynamic.parameters == fully_dynamic
    roberta = RobertaForSequenceClassification(RobertaConfig(num_hidden_layers=1))
    assert size_report(roberta, HEAD).dense.parameters == roberta.num_parameters()
    small = {"n_layer": 1, "n_embd": 16, "n_head": 2, "vocab_size": 20}
    assert size_report(GPT2ForSequenceClassification(GPT2Config(**small)), HEAD) is None


def test_a_dense_language_model_has_the_sizes_of_its_own_head() -> None:
    dense = LlamaForCausalLM(LlamaConfig(**SMALL, tie_word_embeddings=True))
    report = size_report(dense, "AutoModelForCausalLM")
    assert report.dense.parameters == dense.num_parameters()
    assert report.fully_dynamic.parameters == PADLlamaForCausalLM.from_dense(dense).num_parameters()


@pytest.mark.parametrize(("variant", "options"), [("fully dynamic", {"use_moe": True}), ("dense", {})])
def test_a_dense_model_is_upcycled_only_where_a_dynamic_one_is_asked_for(variant: str, options: dict) -> None:
    dense = LlamaForCausalLM(LlamaConfig(**SMALL))
    assert variant_of(as_network(dense, Pad(**options), "AutoModelForCausalLM").config) == variant


def test_a_family_without_the_head_is_refused_with_what_it_cannot_do() -> None:
    config = BertConfig()
    with pytest.raises(PADNetError, match="'here' is a model of type 'bert', which writes no text: choose another"):
        check_network(
            config, "here", Pad(use_moe=True), auto_class="AutoModelForCausalLM", lacks="writes no text", resuming=False
        )


def test_how_experts_are_computed_is_no_option_of_a_dense_network() -> None:
    with pytest.raises(PADNetError, match=r"--experts_implementation eager has no .* --use_pad or --use_moe"):
        check_network(
            LlamaConfig(), "here", Pad(experts_implementation="eager"), auto_class="AutoModelForCausalLM", lacks="",
            resuming=False,
        )  # fmt: skip


def test_a_trained_mixture_becomes_a_network_with_its_own_experts() -> None:
    fields = {"num_key_value_heads": 2, "num_local_experts": 4, "architectures": ["MixtralForCausalLM"]}
    mixture = MixtralForCausalLM(MixtralConfig(**SMALL, **fields))
    asked = {"auto_class": "AutoModelForCausalLM", "lacks": "writes no text", "resuming": False}
    check_network(mixture.config, "folder", Pad(use_moe=True), **asked)
    model = as_network(mixture, Pad(use_moe=True), "AutoModelForCausalLM")
    assert type(model) is PADMixtralForCausalLM
    assert model.num_parameters() == mixture.num_parameters()
    assert size_report(mixture, "AutoModelForCausalLM").fully_dynamic.parameters == mixture.num_parameters()
    with pytest.raises(PADNetError, match=r"--num_experts 8 has no .* experts that are taken as they were"):
        check_network(mixture.config, "folder", Pad(use_moe=True, num_experts=8), **asked)
