"""Every snippet and command of docs/peft.md works as it stands."""

import json
import re
import sys
from pathlib import Path

import pytest
from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

from padnet_hf import (
    PADBertForSequenceClassification,
    PADLlamaConfig,
    PADLlamaForCausalLM,
    PartitionConfig,
    partition,
)
from tests.hub.conftest import hub as hub  # the fixture
from tests.hub.simulated_hub import SimulatedHub
from tests.test_readme import ROOT, run, run_glue_command

TEXT = (ROOT / "docs" / "peft.md").read_text(encoding="utf-8")
SNIPPETS = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
COMMANDS = [line for block in re.findall(r"```bash\n(.*?)```", TEXT, re.DOTALL) for line in block.splitlines()]


@pytest.mark.slow
def test_python_snippets_run_one_after_the_other(minilm_folder: str, tmp_path: Path, hub: SimulatedHub) -> None:
    assert len(SNIPPETS) >= 5
    tokenizer = AutoTokenizer.from_pretrained(minilm_folder)
    sizes = {"hidden_size": 64, "num_attention_heads": 4, "intermediate_size": 256, "num_hidden_layers": 2}
    dense = BertForSequenceClassification(BertConfig(vocab_size=len(tokenizer), **sizes))
    model = PADBertForSequenceClassification.from_dense(dense)
    partition(model, config=PartitionConfig(granularity="unit", criterion="magnitude"), progress=False)
    model.save_pretrained(tmp_path / "pad-bert")
    tokenizer.save_pretrained(tmp_path / "pad-bert")
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    llama = PADLlamaForCausalLM(PADLlamaConfig(vocab_size=len(tokenizer), num_experts=4, **sizes))
    partition(llama, config=PartitionConfig(granularity="unit", criterion="magnitude"), progress=False)
    llama.save_pretrained(tmp_path / "pad-llama")
    tokenizer.save_pretrained(tmp_path / "pad-llama")
    for snippet in SNIPPETS:
        run([sys.executable, "-c", snippet], tmp_path, hub)
    files = hub.repositories.files("org/reviews-lora")
    assert "adapter_model.safetensors" in files
    assert json.loads(files["adapter_config.json"])["base_model_name_or_path"] == "org/pad-bert"
    assert PADLlamaForCausalLM.from_pretrained(tmp_path / "pad-llama-style").is_partitioned


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_commands_run(command: str, minilm_folder: str, tmp_path: Path) -> None:
    run_glue_command(command.split("  #")[0], minilm_folder, tmp_path)
