"""run_clm.py as a command, in a process of its own."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file


def test_the_command_says_its_error_in_one_line_and_exits_with_two(script: Path, tmp_path: Path) -> None:
    options = ["--model_type", "llama", "--do_train", "--output_dir", str(tmp_path / "out")]
    done = subprocess.run(
        [sys.executable, str(script), *options],
        capture_output=True, text=True, check=False, env=os.environ | {"HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    assert done.returncode == 2
    assert re.fullmatch(r"error: a new model \(--model_type\) brings no tokenizer: add --tokenizer_name\n", done.stderr)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.parametrize("streaming", [False, True])
def test_two_processes_end_like_one(
    streaming: bool, script: Path, tiny_llama: str, text_file: str, tmp_path: Path
) -> None:
    options = ["--model_name_or_path", tiny_llama, "--train_file", text_file, "--block_size", "32", "--use_pad"]
    options += ["--granularity", "unit", "--num_experts", "4", "--balance_loss_coef", "0", "--use_cpu", "--max_steps"]
    options += ["4", "--do_train", "--do_eval", *(["--streaming"] if streaming else [])]
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    for name, start, size, batches in (("one", [sys.executable], "4", "4"), ("two", launch, "2", "8")):
        own = ["--output_dir", str(tmp_path / name), "--per_device_train_batch_size", size, "--imp_batches", batches]
        done = subprocess.run([*start, str(script), *options, *own], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("What this run made") == 1
    one, two = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "two"))
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, atol=2e-6, rtol=0)
    measured = [json.loads((tmp_path / name / "all_results.json").read_text()) for name in ("one", "two")]
    assert measured[1]["eval_perplexity"] == pytest.approx(measured[0]["eval_perplexity"], rel=1e-5)
    assert measured[1]["eval_bytes"] == measured[0]["eval_bytes"]
