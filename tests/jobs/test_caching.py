from pathlib import Path

from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM, TrainingArguments

from padnet_hf import PADTrainer
from padnet_hf.jobs.caching import with_cache
from padnet_hf.jobs.networks import size_report

SMALL = {"vocab_size": 30, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}


def test_work_is_counted_though_the_trainer_has_switched_the_cache_off(tmp_path: Path) -> None:
    model = LlamaForCausalLM(LlamaConfig(**SMALL))
    PADTrainer(model=model, args=TrainingArguments(str(tmp_path), report_to="none", use_cpu=True))
    assert model.config.use_cache is False
    assert size_report(model, "AutoModelForCausalLM").dense.multiply_adds == 2 * 3 * 16 * 32
    assert model.config.use_cache is False


def test_what_knows_of_no_cache_is_left_alone() -> None:
    model = nn.Linear(2, 2)
    model.config = nn.Identity()
    with with_cache(model):
        assert not hasattr(model.config, "use_cache")
