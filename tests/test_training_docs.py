"""Every snippet of docs/training.md works as it stands, one after the other."""

import re
from pathlib import Path

import pytest
from transformers import LlamaConfig, LlamaForCausalLM

from tests.examples.language_modeling.conftest import TEMPLATE, new_tokenizer

TEXT = (Path(__file__).parents[1] / "docs" / "training.md").read_text(encoding="utf-8")
SNIPPETS = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)


def tiny_llama(folder: Path) -> None:
    """In the place of the one on the Hub."""
    tokenizer = new_tokenizer()
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    special = {"eos_token_id": tokenizer.eos_token_id, "bos_token_id": None}
    LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), **sizes, **special)).save_pretrained(folder)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`gradient_checkpointing` is deprecated:FutureWarning")  # the default of TRL 1.16
def test_snippets_run_one_after_the_other(minilm_folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(SNIPPETS) == 8
    (tmp_path / "bert-base-uncased").symlink_to(minilm_folder)
    tiny_llama(tmp_path / "meta-llama" / "Llama-3.2-1B-Instruct")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for snippet in SNIPPETS:
        exec(compile(snippet, "docs/training.md", "exec"), names)
    for trainer in ("trainer", "tuner", "adapting"):
        assert names[trainer].state.global_step == 2
    assert names["base"].is_partitioned
