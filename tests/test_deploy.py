"""Every command and snippet of docs/deploy.md works as it stands, in its order, on small checkpoints."""

import re
import shlex
from pathlib import Path

import pytest
from transformers import BertTokenizer, ConvNextImageProcessorPil
from typer.testing import CliRunner

from padnet_hf import PartitionConfig, partition
from padnet_hf.cli.app import app
from tests.cli.samples import SPECIAL, WORDS
from tests.export.models import small
from tests.models.samples import small_pad

TEXT = (Path(__file__).parents[1] / "docs" / "deploy.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(bash|python)\n(.*?)```", TEXT, re.DOTALL)


@pytest.fixture
def checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """pad-bert, pad-resnet and pad-llama in the working folder."""
    monkeypatch.chdir(tmp_path)
    words = {word: number for number, word in enumerate(SPECIAL + WORDS)}
    for name, case, processing in (
        ("pad-bert", "bert-element", BertTokenizer(words)),
        ("pad-resnet", "resnet-unit", ConvNextImageProcessorPil()),
    ):
        small(case).save_pretrained(name)
        processing.save_pretrained(name)
    model = small_pad("llama", "AutoModelForCausalLM", mlp_bias=False)
    partition(model, None, PartitionConfig(criterion="random", granularity="unit", scope="layer"), progress=False)
    model.save_pretrained("pad-llama")
    BertTokenizer(words).save_pretrained("pad-llama")
    return tmp_path


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")  # inductor's own
def test_commands_and_snippets_run_one_after_the_other(checkpoints: Path) -> None:
    kinds = [kind for kind, _ in BLOCKS]
    assert kinds[0] == "bash"
    assert kinds.count("python") == 6
    for kind, text in BLOCKS:
        if kind == "python":
            exec(compile(text, "docs/deploy.md", "exec"), {})
            continue
        for line in text.splitlines():
            program, *arguments = shlex.split(line)
            assert program == "padnet"
            result = CliRunner().invoke(app, arguments, catch_exceptions=False)
            assert result.exit_code == 0, line
    assert {
        "stock-llama",
        "stock-llama-qwen",
        "stock-again",
        "bert-onnx",
        "bert-int8",
        "bert-torch",
        "bert-onnx-18",
        "resnet-onnx",
    } <= {p.name for p in checkpoints.iterdir()}
