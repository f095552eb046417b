"""vLLM's HTTP server, one for every variant of a model, asked by several clients at once; random weights, float32.

Classification: the MiniLM of the bench serving, texts of 64 tokens. Generation: the Llama of the bench language_model,
32 tokens after 16. With 8 experts, 2 per token: fully dynamic, and partitioned at 0.5 at random.

All servers run at the same time and one is asked at a time, so that rounds alternate between them. They need a Python
with vLLM (`make serve-test` makes one), which PADNET_SERVING_PYTHON names; without it nothing is measured.
"""

import json
import os
import random
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import Request, urlopen

import torch
from transformers import BertTokenizer, PreTrainedModel

from benchmarks import language_model, pad_bert
from benchmarks.checkpoints import WORDS
from benchmarks.comparison import Job, Measured
from benchmarks.device import Clock
from benchmarks.fresh import ROOT
from benchmarks.serving import MINILM
from benchmarks.targets import Target
from benchmarks.timing import interleaved

PYTHON = os.environ.get("PADNET_SERVING_PYTHON")
CLASSIFICATION, GENERATION = "vLLM, classification", "vLLM, generation"
LLAMA = language_model.Shape()
TARGETS: list[Target] = []
BASELINES = (pad_bert.OURS, pad_bert.DENSE)
START_S = 600
ENVIRONMENT = {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", "VLLM_CPU_KVCACHE_SPACE": "1", "HF_HUB_OFFLINE": "1"}


@dataclass(frozen=True)
class Sizes:
    """What is asked: a text of a classifier, one token a word, and a continuation of a language model."""

    bert: pad_bert.Shape = MINILM
    llama: language_model.Shape = LLAMA
    clients: tuple[int, ...] = (1, 8, 32)
    requests: int = 64
    words: int = 62
    written: int = 32
    rounds: int = 7
    classifiers: tuple[str, ...] = (pad_bert.DENSE, pad_bert.OURS, pad_bert.UNIT)
    writers: tuple[str, ...] = (language_model.DENSE, language_model.OURS, language_model.UNIT, language_model.STOCK)


QUICK = Sizes(pad_bert.Shape(2, 64, 64, 2, 100), language_model.Shape(2, 64, 64, 2, 1, 100), (2,), 2, 6, 2, 1)


def jobs(quick: bool) -> Iterator[Job]:
    """Requests answered, then tokens written, at every number of clients."""
    if not PYTHON:
        print("left out: PADNET_SERVING_PYTHON names no Python with vLLM (`make serve-test` makes one)")
        return
    sizes = QUICK if quick else Sizes()
    words = random.Random(0).choices(WORDS[5:], k=sizes.words)
    models = {name: partial(pad_bert.build, name, sizes.bert) for name in sizes.classifiers}
    with _servers(models) as ports:
        for clients in sizes.clients:
            ask = partial(_post, "/classify", {"input": [" ".join(words)]})
            case = {"clients": clients, "requests": sizes.requests, "tokens each": sizes.words + 2}
            measure = partial(_measure, ports, ask, clients, sizes.requests)
            yield Job(CLASSIFICATION, case, measure, sizes.rounds, BASELINES, (sizes.requests, "requests"))
    models = {name: partial(language_model.build, name, sizes.llama) for name in sizes.writers}
    with _servers(models) as ports:
        for clients in sizes.clients:
            prompt = list(range(5, 21))
            options = {"prompt": prompt, "max_tokens": sizes.written, "temperature": 0, "ignore_eos": True}
            case = {"clients": clients, "tokens each": sizes.written}
            measure = partial(_measure, ports, partial(_post, "/v1/completions", options), clients, clients)
            yield Job(GENERATION, case, measure, sizes.rounds, BASELINES, (clients * sizes.written, "tokens"))


def _measure(
    ports: Mapping[str, int], ask: Callable[[int], None], clients: int, requests: int, rounds: int, clock: Clock
) -> Measured:
    """Seconds until all requests to a server are answered. Always wall time: the work is done elsewhere."""

    def all_of(port: int) -> None:
        with ThreadPoolExecutor(clients) as pool:
            list(pool.map(lambda _: ask(port), range(requests)))

    return {"seconds": interleaved({name: partial(all_of, port) for name, port in ports.items()}, rounds, "wall")}


def _post(path: str, body: dict[str, Any], port: int) -> None:
    headers = {"Content-Type": "application/json"}
    request = Request(f"http://127.0.0.1:{port}{path}", json.dumps({"model": "pad", **body}).encode(), headers)
    with urlopen(request, timeout=600) as answer:
        answer.read()


@contextmanager
def _servers(models: Mapping[str, Callable[[], PreTrainedModel]]) -> Iterator[dict[str, int]]:
    """Port by name of a server for every model, which has random weights."""
    tokenizer = BertTokenizer({word: number for number, word in enumerate(WORDS)})
    with ExitStack() as stack:
        folder, ports = Path(stack.enter_context(tempfile.TemporaryDirectory())), {}
        for number, (name, build) in enumerate(models.items()):
            torch.manual_seed(0)
            build().save_pretrained(folder / str(number))
            tokenizer.save_pretrained(folder / str(number))
            ports[name] = stack.enter_context(_server(folder / str(number)))
        yield ports


@contextmanager
def _server(folder: Path) -> Iterator[int]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = {"host": "127.0.0.1", "port": port, "model": folder, "served-model-name": "pad", "dtype": "float32"}
    options |= {"max-model-len": 128, "max-num-seqs": 32}
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    command = [PYTHON, "-m", "vllm.entrypoints.openai.api_server", *words, "--enforce-eager"]
    own = {**ENVIRONMENT, "OMP_NUM_THREADS": str(torch.get_num_threads()), "PYTHONPATH": str(ROOT)}
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, env=os.environ | own, stdout=log, stderr=subprocess.STDOUT)
    try:
        _wait_until_ready(process, port, folder / "log")
        yield port
    finally:
        process.terminate()
        process.wait()


def _wait_until_ready(process: subprocess.Popen, port: int, log: Path) -> None:
    end = time.monotonic() + START_S
    while process.poll() is None and time.monotonic() < end:
        try:
            with urlopen(f"http://127.0.0.1:{port}/health", timeout=5):
                return
        except (URLError, OSError):
            time.sleep(0.5)
    raise RuntimeError(f"vLLM did not start:\n{log.read_text()[-3000:]}")
