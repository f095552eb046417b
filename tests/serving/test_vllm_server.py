"""vLLM's HTTP server with PAD models: several clients, requests that are too long, clients that vanish."""

import json
import shlex
import socket
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from padnet_hf.models.pad_model import PADModelMixin
from tests.serving.documented import block_of
from tests.serving.served import Server, free_port, serving
from tests.serving.test_vllm import ENVIRONMENT, PYTHON, TOKENIZER, TOLERANCE, needs_vllm, save

TEXTS = ["a fine film", "very dull", "the plot", "no good", "a very good plot", "a bad bad film"]
POSITIONS = 40
SERVE, ASK = block_of("vLLM", "bash").splitlines()

pytestmark = needs_vllm

Served = tuple[Server, PADModelMixin]


def command(name: str, port: int) -> list[str | Path]:
    """The document's, with this model's folder."""
    _, *words = shlex.split(SERVE.replace("pad-bert", name))
    limits = ["--max-model-len", str(POSITIONS), "--max-num-seqs", "4"]
    return [PYTHON, *words, "--host", "127.0.0.1", "--port", str(port), *limits]


def serve(case: tuple[str, str, str], name: str, folder: Path) -> Iterator[Served]:
    model, port = save(case, folder / name), free_port()
    with serving(command(name, port), folder, port, "/health", VLLM_CPU_KVCACHE_SPACE="1") as server:
        yield server, model


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    yield from serve(("bert", "text", "element"), "pad-bert", tmp_path_factory.mktemp("classifier"))


@pytest.fixture(scope="module")
def writer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    yield from serve(("qwen3", "writes", "unit"), "pad-qwen3", tmp_path_factory.mktemp("writer"))


@torch.no_grad()
def probabilities(model: PADModelMixin, text: str) -> torch.Tensor:
    return model(**TOKENIZER(text, return_tensors="pt")).logits[0].softmax(-1)


def classify(server: Server, text: str) -> list[float]:
    status, answer = server.ask("/classify", {"model": "pad-bert", "input": [text]})
    assert status == 200, answer
    return answer["data"][0]["probs"]


def write(server: Server, prompt: list[int], tokens: int) -> list[int]:
    """Greedily, `tokens` of them."""
    options = {"max_tokens": tokens, "temperature": 0, "ignore_eos": True, "return_token_ids": True}
    status, answer = server.ask("/v1/completions", {"model": "pad-qwen3", "prompt": prompt, **options})
    assert status == 200, answer
    return answer["choices"][0]["token_ids"]


def test_the_command_of_the_document_asks_it(classifier: Served) -> None:
    server, model = classifier
    status, answer = server.curl(ASK)
    assert status == 200, answer
    right = torch.stack([probabilities(model, text) for text in ("a fine film", "no")])
    torch.testing.assert_close(torch.tensor([one["probs"] for one in answer["data"]]), right, atol=TOLERANCE, rtol=0)


def test_the_program_of_the_document_writes(tmp_path: Path) -> None:
    model = save(("llama", "writes", "unit"), tmp_path / "pad-llama")
    (tmp_path / "program.py").write_text(block_of("vLLM", "python"))
    options = {"env": ENVIRONMENT, "cwd": tmp_path, "capture_output": True, "text": True, "check": False}
    done = subprocess.run([PYTHON, "program.py"], **options)
    assert done.returncode == 0, done.stderr[-3000:]
    prompt = TOKENIZER("a fine", return_tensors="pt").input_ids
    written = model.generate(prompt, max_new_tokens=20, do_sample=False)[0, prompt.shape[1] :]
    assert done.stdout.rstrip("\n").endswith(TOKENIZER.decode(written, skip_special_tokens=True))


def test_two_clients_at_once_get_the_answers_of_transformers(classifier: Served) -> None:
    server, model = classifier
    right = torch.stack([probabilities(model, text) for text in TEXTS] * 3)

    def client(_: int) -> torch.Tensor:
        return torch.tensor([classify(server, text) for text in TEXTS * 3])

    with ThreadPoolExecutor(2) as clients:
        for answers in clients.map(client, range(2)):
            torch.testing.assert_close(answers, right, atol=TOLERANCE, rtol=0)


def test_two_clients_at_once_get_the_same_greedy_text(writer: Served) -> None:
    server, model = writer
    prompts = [[5, 9, 11], [6, 7, 8, 12, 10]]
    with ThreadPoolExecutor(2) as clients:
        answers = list(clients.map(lambda prompt: write(server, prompt, 16), prompts))
    for prompt, tokens in zip(prompts, answers, strict=True):
        with torch.no_grad():
            right = model.generate(torch.tensor([prompt]), max_new_tokens=16, do_sample=False, eos_token_id=None)
        assert tokens == right[0, len(prompt) :].tolist()


def test_a_text_beyond_the_positions_is_an_error_and_the_server_goes_on(classifier: Served) -> None:
    server, model = classifier
    status, answer = server.ask("/classify", {"model": "pad-bert", "input": ["film " * 100]})
    assert status == 400
    assert f"maximum context length is {POSITIONS}" in str(answer)
    right = probabilities(model, "a film")
    torch.testing.assert_close(torch.tensor(classify(server, "a film")), right, atol=TOLERANCE, rtol=0)


def test_a_prompt_beyond_the_positions_is_an_error_and_the_server_goes_on(writer: Served) -> None:
    server, _ = writer
    status, answer = server.ask("/v1/completions", {"model": "pad-qwen3", "prompt": [5] * 100, "max_tokens": 1})
    assert status == 400
    assert f"maximum context length is {POSITIONS}" in str(answer)
    assert len(write(server, [5, 9], 2)) == 2


def test_clients_that_vanish_stop_nobody_else(writer: Served) -> None:
    server, _ = writer
    before = write(server, [5, 9], 20)
    body = json.dumps({"model": "pad-qwen3", "prompt": [5, 9], "max_tokens": 38, "ignore_eos": True, "stream": True})
    head = f"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    for _ in range(4):  # as many as are answered at once
        with socket.create_connection(("127.0.0.1", server.port)) as gone:
            gone.sendall(f"{head}\r\n\r\n{body}".encode())
            assert gone.recv(1), "no answer has begun"
    assert write(server, [5, 9], 20) == before


def log_of_refusal(folder: Path) -> str:
    """What the server says of a model that it does not serve."""
    options = {"env": ENVIRONMENT, "capture_output": True, "text": True, "timeout": 300, "check": False}
    done = subprocess.run(command("pad-bert", free_port()), cwd=folder, **options)
    assert done.returncode
    return done.stdout + done.stderr


def test_a_checkpoint_of_a_newer_version_is_refused_in_the_log(tmp_path: Path) -> None:
    save(("bert", "text", "dynamic"), tmp_path / "pad-bert")
    config = tmp_path / "pad-bert" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"padnet_hf_version": "99.0.0"}))
    assert "the checkpoint was saved by padnet_hf 99.0.0" in log_of_refusal(tmp_path)


def test_another_head_is_refused_in_the_log(tmp_path: Path) -> None:
    save(("bert", "answers", "dynamic"), tmp_path / "pad-bert")
    assert "vLLM does not serve PADBertForQuestionAnswering" in log_of_refusal(tmp_path)
