"""run_image_classification.py as a command, in processes of its own."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest


def command(script: Path, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(script), *options],
        capture_output=True,
        text=True,
        env=os.environ | {"HF_HUB_OFFLINE": "1"} | environment,
        check=False,
    )


def test_the_command_says_its_error_in_one_line_and_exits_with_two(script: Path, tmp_path: Path) -> None:
    done = command(script, "--train_dir", "nowhere", "--do_train", "--output_dir", str(tmp_path / "out"))
    assert done.returncode == 2
    assert re.fullmatch(r"error: --train_dir nowhere is not a folder: .*\n", done.stderr)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_an_unreachable_hub_is_one_line_too(script: Path, tmp_path: Path) -> None:
    for options in (["--model_name_or_path", "microsoft/resnet-50"], ["--dataset_name", "cifar10"]):
        done = command(
            script, *options, "--do_train", "--output_dir", str(tmp_path / "out"),
            HF_HUB_OFFLINE="0", HF_ENDPOINT="http://127.0.0.1:9", HF_HOME=str(tmp_path / "home"),
        )  # fmt: skip
        assert done.returncode == 2
        assert "Traceback" not in done.stderr
        assert re.match(r"error: .*(--data_dir|--model_name_or_path) FOLDER", done.stderr.splitlines()[-1])
        assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.parametrize("network", ["--use_pad", "--use_dynamic"])
def test_the_embedded_default_runs_and_loads_in_a_new_process_without_a_warning(
    network: str, script: Path, tmp_path: Path
) -> None:
    out = str(tmp_path / "out")
    limits = ["--max_train_samples", "256", "--max_eval_samples", "32", "--num_train_epochs", "1"]
    done = command(script, network, "--do_train", "--do_eval", "--output_dir", out, *limits)
    assert done.returncode == 0, done.stderr
    code = (
        "import padnet_hf; from PIL import Image; from transformers import AutoImageProcessor, pipeline\n"
        f"print(AutoImageProcessor.from_pretrained({out!r}).size)\n"
        f"print(pipeline('image-classification', model={out!r})(Image.new('L', (40, 30))))"
    )
    loaded = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert loaded.returncode == 0, loaded.stderr
    assert re.search(r"'label': '\d'", loaded.stdout)
    assert not re.search("warn|missing|unexpected", loaded.stderr, re.IGNORECASE)
