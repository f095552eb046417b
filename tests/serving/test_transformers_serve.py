"""`transformers serve` continues texts with a stock export as the PAD model does, without this package."""

import json
import os
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer
from typer.testing import CliRunner

from padnet_hf.cli.app import app
from padnet_hf.models.pad_model import PADModelMixin
from tests.serving.documented import block_of
from tests.serving.samples import TEXTS, made, save
from tests.serving.served import PYTHON, Server, free_port, needs_engines, serving

pytestmark = needs_engines
EXPORT, SERVE, ASK = block_of("transformers serve", "bash").splitlines()
TOKENS = 20
TEMPLATE = "{% for message in messages %}{{ message['content'] }} {% endfor %}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("stock")


@pytest.fixture(scope="module")
def model(folder: Path) -> PADModelMixin:
    """In pad-llama, with a tokenizer that has a template of chats; the document's command makes stock-llama of it."""
    sizes = {"mlp_bias": False, "max_position_embeddings": 64, "eos_token_id": None}
    model = made("llama", "AutoModelForCausalLM", "unit", **sizes)
    save(model, folder / "pad-llama")
    tokenizer = AutoTokenizer.from_pretrained(folder / "pad-llama")
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder / "pad-llama")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        program, *arguments = shlex.split(EXPORT)
        assert program == "padnet"
        assert CliRunner().invoke(app, arguments, catch_exceptions=False).exit_code == 0
    return model


@pytest.fixture(scope="module")
def server(model: PADModelMixin, folder: Path) -> Iterator[Server]:
    program, *arguments = shlex.split(SERVE)
    assert program == "transformers"
    port = free_port()
    command = [PYTHON, "-m", "transformers.cli.transformers", *arguments, "--port", str(port)]
    with serving(command, folder, port, "/health", ours=False) as server:
        yield server


@torch.no_grad()
def continued(model: PADModelMixin, folder: Path, text: str, **options: bool) -> str:
    """What the PAD model writes after the text; options are the tokenizer's."""
    tokenizer = AutoTokenizer.from_pretrained(folder / "pad-llama")
    batch = tokenizer(text, return_tensors="pt", return_token_type_ids=False, **options)
    written = model.generate(**batch, max_new_tokens=TOKENS, do_sample=False)
    return tokenizer.decode(written[0, batch["input_ids"].shape[1] :], skip_special_tokens=True)


def test_this_package_is_not_there(folder: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [PYTHON, "-c", "import padnet_hf"]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert "No module named 'padnet_hf'" in done.stderr


def test_the_documents_command_is_answered(server: Server, model: PADModelMixin, folder: Path) -> None:
    status, found = server.curl(ASK)
    assert status == 200, found
    assert found["choices"][0]["text"] == continued(model, folder, "a fine")
    assert found["usage"]["completion_tokens"] == TOKENS


def test_clients_at_once_get_the_models_own_greedy_texts(server: Server, model: PADModelMixin, folder: Path) -> None:
    body = {"model": "stock-llama", "max_tokens": TOKENS, "temperature": 0}
    bad = [{"model": "stock-llama", "prompt": 5}, {"model": "stock-llama", "prompt": "a", "max_tokens": "many"}]
    asked = [body | {"prompt": text} for text in TEXTS] + bad
    answers = server.ask_all("/v1/completions", asked)
    expected = [continued(model, folder, text) for text in TEXTS]
    assert len(set(expected)) > 3
    assert [found["choices"][0]["text"] for _, found in answers[: len(TEXTS)]] == expected
    assert all(status >= 400 for status, _ in answers[len(TEXTS) :]), json.dumps(answers[len(TEXTS) :])
    assert server.ask("/v1/completions", asked[0])[0] == 200


def test_chats_go_through_the_tokenizers_template(server: Server, model: PADModelMixin, folder: Path) -> None:
    chat = {"model": "stock-llama", "messages": [{"role": "user", "content": "a fine film"}], "max_tokens": TOKENS}
    status, found = server.ask("/v1/chat/completions", chat | {"temperature": 0})
    assert status == 200, found
    expected = continued(model, folder, "a fine film ", add_special_tokens=False)  # they are the template's
    assert found["choices"][0]["message"]["content"] == expected
