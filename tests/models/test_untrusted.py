"""A configuration from elsewhere is refused before anything is built from it."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoConfig, PreTrainedModel

from padnet_hf import PADNetError


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("num_labels", 10**9, r"num_labels in config.json is 1000000000, but must not be beyond 1,000,000"),
        ("num_hidden_layers", 10**9, r"num_hidden_layers .* not be beyond 1,000\."),
        ("depths", [3, 10**9], r"depths in config.json is \[3, 1000000000\]"),
        ("hidden_size", 2**63, r"hidden_size .* not be beyond 10,000,000"),
        ("intermediate_size", -(10**30), r"intermediate_size"),
        (
            "attn_implementation",
            "someone/kernel",
            r"attn_implementation .* 'someone/kernel', code of another repository",
        ),
        ("_experts_implementation", "someone/kernel:layer", r"code of another repository"),
        ("attn_implementation", {"": "someone/kernel"}, r"code of another repository"),
    ],
)
def test_what_would_take_all_memory_or_run_code_is_named(field: str, value: Any, message: str) -> None:
    with pytest.raises(PADNetError, match=message):
        AutoConfig.for_model("pad_bert").from_dict({"hidden_size": 32, field: value})


def test_a_family_s_own_names_have_the_usual_limits() -> None:
    for name in ("n_layers", "num_hidden_layers"):
        with pytest.raises(PADNetError, match=rf"{name} in config.json is 2000, but must not be beyond 1,000\."):
            AutoConfig.for_model("pad_distilbert").from_dict({name: 2000})


def test_what_models_say_passes(model: PreTrainedModel) -> None:
    type(model.config).from_dict({**model.config.to_dict(), "attn_implementation": "sdpa", "vocab_size": 256_000})


def test_numbers_of_somebody_s_own_may_be_any(saved: Path) -> None:
    file = saved / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "data_seed": 20_261_128, "partition_day": [10**12]}))
    assert AutoConfig.from_pretrained(saved).data_seed == 20_261_128


def test_reading_such_a_file_ends_at_once(saved: Path) -> None:
    file = saved / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "num_labels": 10**12}))
    started = time.monotonic()
    with pytest.raises(PADNetError, match="num_labels"):
        AutoConfig.from_pretrained(saved)
    assert time.monotonic() - started < 5  # without the check: hours, or all memory
