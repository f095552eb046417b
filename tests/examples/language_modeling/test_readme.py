"""What the README says of lm-eval works as it stands, on the command line and in Python."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerBase

from padnet_hf import PADLlamaConfig, PADLlamaForCausalLM, PartitionConfig, partition

TEXT = (Path(__file__).parents[3] / "examples" / "language_modeling" / "README.md").read_text(encoding="utf-8")


def block(language: str, word: str) -> str:
    """The only one with this word."""
    (found,) = (text for text in re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL) if word in text)
    return found


@pytest.mark.slow
def test_lm_eval_gives_the_same_figure_on_the_command_line_and_in_python(
    tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    model = PADLlamaForCausalLM(PADLlamaConfig(vocab_size=len(tokenizer), num_experts=4, eos_token_id=0, **sizes))
    partition(model, config=PartitionConfig(granularity="unit", criterion="magnitude"), progress=False)
    model.save_pretrained(tmp_path / "runs" / "clm")
    tokenizer.save_pretrained(tmp_path / "runs" / "clm")
    rows = [
        {"question": f"The sky {number} is", "choices": ["blue", "a dog"], "label": number % 3 // 2}
        for number in range(8)
    ]
    (tmp_path / "colours.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "colours.yaml").write_text(block("yaml", "task:"))
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    options = {"cwd": tmp_path, "capture_output": True, "text": True, "env": os.environ | {"PATH": path}}
    command = subprocess.run(
        f"{block('bash', 'lm_eval').strip()} --output_path found", shell=True, check=False, **options
    )
    assert command.returncode == 0, command.stderr
    program = subprocess.run([sys.executable, "-c", block("python", "lm_eval")], check=False, **options)
    assert program.returncode == 0, program.stderr
    figure = float(program.stdout.strip().splitlines()[-1])
    assert figure in (0.25, 0.75)
    (written,) = (tmp_path / "found").rglob("*.json")
    assert json.loads(written.read_text())["results"]["colours"]["acc,none"] == figure
