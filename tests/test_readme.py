"""Every snippet and command of the README works as it stands; a name on the Hub stands for the local checkpoint."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, Features
from datasets import Image as ImageColumn
from PIL import Image
from transformers import LlamaConfig, LlamaForCausalLM, ResNetConfig, ResNetForImageClassification

from byte_bpe import train_tokenizer
from tests.hub.conftest import hub as hub  # the fixture
from tests.hub.simulated_hub import SimulatedHub

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SNIPPETS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
COMMANDS = [
    line.split("#")[0].strip()
    for block in re.findall(r"```bash\n(.*?)```", README, re.DOTALL)
    for line in block.splitlines()
]
RUN_BY_CI = {
    "make glue",
    "make vision",
    "make lm",
    "make test",
    'pip install -c constraints.txt -e ".[examples,plots]"',
}
NOT_RUN = {"vllm serve runs/clm-stock"}
"""The README says so: vLLM is no dependency."""


def test_python_snippets_run_one_after_the_other(minilm_folder: str, tmp_path: Path, hub: SimulatedHub) -> None:
    assert len(SNIPPETS) >= 5
    (tmp_path / "bert-base-uncased").symlink_to(minilm_folder)
    resnet = ResNetConfig(embedding_size=16, hidden_sizes=[32, 64], depths=[1, 1], num_labels=2)
    ResNetForImageClassification(resnet).save_pretrained(tmp_path / "microsoft" / "resnet-50")
    for snippet in SNIPPETS:
        run([sys.executable, "-c", snippet], tmp_path, hub)
    assert (tmp_path / "partition.png").stat().st_size > 10_000
    assert {"README.md", "model.safetensors", "tokenizer.json"} <= set(hub.repositories.files("org/pad-bert-moe-50"))


def run(command: str | list[str], folder: Path, hub: SimulatedHub) -> None:
    """Run it in `folder`, `padnet` being this environment's, the simulated Hub its Hub."""
    environment = hub.environment(token="writer-token")
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    is_text = isinstance(command, str)
    result = subprocess.run(command, cwd=folder, shell=is_text, capture_output=True, text=True, env=environment)
    assert result.returncode == 0, f"{command}\n{result.stderr}"


@pytest.mark.slow
def test_padnet_commands_run_one_after_the_other(minilm_folder: str, tmp_path: Path, hub: SimulatedHub) -> None:
    (tmp_path / "bert-base-uncased").symlink_to(minilm_folder)
    (tmp_path / "reviews.csv").write_text("text,label\na fine film,1\nno,0\n", encoding="utf-8")
    commands = [line for line in COMMANDS if line.startswith("padnet ") and "runs/" not in line]
    assert len(commands) >= 6
    for command in commands:
        run(command, tmp_path, hub)
    assert {"README.md", "model.safetensors", "partition.png"} <= set(hub.repositories.files("org/pad-bert-unit-50"))


@pytest.mark.slow
@pytest.mark.parametrize("command", [line for line in COMMANDS if "run_glue.py" in line])
def test_glue_commands_run(command: str, minilm_folder: str, tmp_path: Path) -> None:
    run_glue_command(command, minilm_folder, tmp_path)


def run_glue_command(command: str, minilm_folder: str, tmp_path: Path) -> None:
    """Run it for two steps on a few rows, MiniLM in the place of BERT-base."""
    data = tmp_path / "mrpc"
    data.mkdir()
    rows = [("a fine film", "a good film", 1), ("a fine film", "it rains", 0)] * 16
    for split in ("train", "validation"):
        Dataset.from_dict(
            {
                "sentence1": [row[0] for row in rows],
                "sentence2": [row[1] for row in rows],
                "label": [row[2] for row in rows],
                "idx": list(range(len(rows))),
            }
        ).to_parquet(data / f"{split}-00000-of-00001.parquet")
    script = "examples/glue/run_glue.py"
    local = {"bert-base-uncased": minilm_folder, script: str(ROOT / script)}
    program, *arguments = [local.get(word, word) for word in shlex.split(command)]
    arguments = [str(Path(sys.executable).parent / program), *arguments]
    arguments += ["--data_dir", str(data), "--max_steps", "2"]
    result = subprocess.run(arguments, cwd=tmp_path, capture_output=True, text=True, check=False, env=os.environ)
    assert result.returncode == 0, result.stderr
    folder = tmp_path / arguments[arguments.index("--output_dir") + 1]
    weights = "adapter_model.safetensors" if "--lora" in arguments else "model.safetensors"
    assert (folder / weights).exists()
    assert str(folder.relative_to(tmp_path)) in result.stdout  # the line that loads it


@pytest.mark.slow
@pytest.mark.parametrize("command", [line for line in COMMANDS if "run_image_classification.py" in line])
def test_vision_commands_run(command: str, tmp_path: Path) -> None:
    data = tmp_path / "cifar10"
    data.mkdir()
    generator = np.random.default_rng(0)
    images = [Image.fromarray(generator.integers(0, 256, (32, 32, 3), dtype=np.uint8)) for _ in range(32)]
    features = Features({"img": ImageColumn(), "label": ClassLabel(names=["airplane", "automobile"])})
    for split in ("train", "test"):
        table = Dataset.from_dict({"img": images, "label": [0, 1] * 16}, features=features)
        table.to_parquet(data / f"{split}-00000-of-00001.parquet")
    arguments = shlex.split(command)
    place = arguments.index("--dataset_name")  # the Hub's data set stands for a local folder
    arguments[place : place + 2] = ["--data_dir", str(data)]
    arguments[0:2] = [sys.executable, str(ROOT / "examples" / "vision" / "run_image_classification.py")]
    arguments += ["--max_steps", "2", "--per_device_train_batch_size", "8"]
    result = subprocess.run(arguments, cwd=tmp_path, capture_output=True, text=True, check=False, env=os.environ)
    assert result.returncode == 0, result.stderr
    folder = tmp_path / arguments[arguments.index("--output_dir") + 1]
    assert (folder / "model.safetensors").exists()
    assert str(folder.relative_to(tmp_path)) in result.stdout  # the line that loads it


@pytest.mark.slow
@pytest.mark.parametrize("command", [line for line in COMMANDS if "run_clm.py" in line])
def test_language_model_commands_run(command: str, tmp_path: Path) -> None:
    """For two steps on a few lines, a narrow Llama in the place of the Hub's."""
    lines = [f"def f{number}(x):\n    return x + {number}\n" for number in range(200)]
    (tmp_path / "text.txt").write_text("".join(lines))
    llama = str(tmp_path / "llama")
    tokenizer = train_tokenizer(lines, 280)
    tokenizer.save_pretrained(llama)
    shape = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), **shape, eos_token_id=0)).save_pretrained(llama)
    arguments = [llama if word.startswith("meta-llama/") else word for word in shlex.split(command)]
    place = arguments.index("--dataset_name")  # the Hub's data set stands for a local file
    arguments[place : place + 4] = ["--train_file", str(tmp_path / "text.txt"), "--block_size", "64"]
    arguments[0:2] = [sys.executable, str(ROOT / "examples" / "language_modeling" / "run_clm.py")]
    result = subprocess.run(
        [*arguments, "--max_steps", "2"], cwd=tmp_path, capture_output=True, text=True, check=False, env=os.environ
    )
    assert result.returncode == 0, result.stderr
    folder = tmp_path / arguments[arguments.index("--output_dir") + 1]
    assert (folder / "model.safetensors").exists()
    assert str(folder.relative_to(tmp_path)) in result.stdout  # the line that loads it
    (export,) = [line for line in COMMANDS if line.startswith(f"padnet export {folder.relative_to(tmp_path)} ")]
    done = subprocess.run(
        [str(Path(sys.executable).parent / "padnet"), *shlex.split(export)[1:]], cwd=tmp_path, capture_output=True,
        text=True, check=False, env=os.environ,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    complete = [sys.executable, str(ROOT / "examples" / "language_modeling" / "complete.py")]
    done = subprocess.run(
        [*complete, shlex.split(export)[3], "def "], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.stdout.startswith("def "), done.stderr


def test_no_command_goes_untested() -> None:
    tested = ("run_glue.py", "run_clm.py", "run_image_classification.py", "padnet ")
    assert {command for command in COMMANDS if not any(name in command for name in tested)} == RUN_BY_CI | NOT_RUN
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"`make ([a-z-]+)`", README):
        assert f"\n{target}:" in makefile, target
