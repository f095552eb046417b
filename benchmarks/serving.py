"""Serving: a BERT of the size of MiniLM (6 layers, 384/1536) with 8 experts, 2 per token, random weights.

Compared are dense BERT (stock), ours fully dynamic, and ours partitioned at 0.5 at random.

Pipeline: transformers' `pipeline` over 32 sentences of 8 to 64 words, one at a time and all in one batch, padded.
onnxruntime: the exported graphs (`export_model`), on the CPU, batches of 1 and 32 with 64 tokens each. The int8 file's
weights are turned back once, when it is loaded ("session.disable_quant_qdq").
torch.compile: inductor, fullgraph and dynamic shapes, against the same model eager, batches of 32; a training step is
forward and backward. Compiling is not counted: it takes minutes each.
"""

import random
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import BertTokenizer, pipeline

from benchmarks.checkpoints import WORDS
from benchmarks.comparison import Job, Measured
from benchmarks.device import Clock, device
from benchmarks.pad_bert import DENSE, ELEMENT, OURS, UNIT, Shape, build
from benchmarks.targets import Target
from benchmarks.timing import interleaved
from padnet_hf.export.exporting import export_model
from padnet_hf.export.onnx_file import OnnxRunner

PIPELINE, ONNX, COMPILED, COMPILED_STEP = "pipeline", "onnxruntime", "torch.compile", "torch.compile, training step"
VARIANTS = (DENSE, OURS, UNIT, ELEMENT)
INT8 = f"{UNIT}, int8 file"
TARGETS: list[Target] = []


MINILM = Shape(num_hidden_layers=6, hidden_size=384, intermediate_size=1536)


@dataclass(frozen=True)
class Sizes:
    """What is measured."""

    shape: Shape = MINILM
    tokens: int = 64
    sentences: int = 32
    batches: tuple[int, ...] = (1, 32)
    variants: tuple[str, ...] = VARIANTS
    backend: str = "inductor"
    rounds: int = 7


QUICK = Sizes(Shape(1, 32, 64, 2, 100), 8, 2, (2,), (DENSE, UNIT), "aot_eager", 1)


def jobs(quick: bool) -> Iterator[Job]:
    """Every way at every batch size."""
    sizes = QUICK if quick else Sizes()
    shape = sizes.shape
    model = {"model": f"BERT, {shape.num_hidden_layers} layers {shape.hidden_size}/{shape.intermediate_size}"}
    baselines = (OURS, DENSE)
    for batch in sizes.batches:
        case = {"sentences": sizes.sentences, "in each batch": batch, **model}
        yield Job(PIPELINE, case, partial(serve, sizes, batch), sizes.rounds, baselines, (sizes.sentences, "sentences"))
    with tempfile.TemporaryDirectory() as name:
        for batch in sizes.batches if device().type == "cpu" else ():
            case = {"sentences": batch, "tokens each": sizes.tokens, **model}
            measure = partial(run_graphs, sizes, Path(name), batch)
            yield Job(ONNX, case, measure, sizes.rounds, baselines, (batch, "sentences"))
    for variant in sizes.variants:
        for part, training in ((COMPILED, False), (COMPILED_STEP, True)):
            batch = sizes.batches[-1]
            case = {"variant": variant, "sentences": batch, "tokens each": sizes.tokens, **model}
            measure = partial(compiled, sizes, variant, batch, training)
            yield Job(part, case, measure, sizes.rounds, ("eager",), (batch, "sentences"))


def serve(sizes: Sizes, batch: int, rounds: int, clock: Clock) -> Measured:
    """Seconds in which a pipeline answers all sentences."""
    generator = random.Random(0)
    texts = [" ".join(generator.choices(WORDS[5:], k=generator.randint(8, 64))) for _ in range(sizes.sentences)]
    tokenizer = BertTokenizer({word: number for number, word in enumerate(WORDS)})
    calls = {}
    for name in sizes.variants:
        options = {"tokenizer": tokenizer, "batch_size": batch, "device": device()}
        pipe = pipeline("text-classification", model=_made(name, sizes.shape), **options)
        calls[name] = partial(pipe, texts)
    return {"seconds": interleaved(calls, rounds, clock)}


def run_graphs(sizes: Sizes, folder: Path, batch: int, rounds: int, clock: Clock) -> Measured:
    """Seconds of exported graphs in onnxruntime."""
    calls: dict[str, Callable[[], object]] = {}
    for name in (*sizes.variants, INT8):
        path = folder / name
        if not path.exists():
            int8 = "int8" if name == INT8 else None
            export_model(_made(UNIT if int8 else name, sizes.shape), path, quantize=int8)
        calls[name] = partial(OnnxRunner(path / "model.onnx"), **_inputs(sizes, batch))
    return {"seconds": interleaved(calls, rounds, clock)}


def compiled(sizes: Sizes, variant: str, batch: int, training: bool, rounds: int, clock: Clock) -> Measured:
    """Seconds of a forward pass, or of a training step without its optimizer, eager and compiled."""
    torch.compiler.reset()
    model = _made(variant, sizes.shape).train(training)
    inputs = _inputs(sizes, batch)
    if training:
        inputs["labels"] = torch.zeros(batch, dtype=torch.long, device=device())

    def run(function: Callable[..., object]) -> None:
        with torch.set_grad_enabled(training):
            output = function(**inputs)
        if training:
            output.loss.backward()

    fast = torch.compile(model, fullgraph=True, dynamic=True, backend=sizes.backend)
    calls = {"eager": partial(run, model), "compiled": partial(run, fast)}
    return {"seconds": interleaved(calls, rounds, clock, warm_up=2)}


def _made(variant: str, shape: Shape) -> nn.Module:
    torch.manual_seed(0)
    with device():
        return build(variant, shape).eval()


def _inputs(sizes: Sizes, batch: int) -> dict[str, Tensor]:
    """Random tokens, no padding."""
    ids = torch.randint(sizes.shape.vocab_size, (batch, sizes.tokens))
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "token_type_ids": torch.zeros_like(ids)}
    return {name: tensor.to(device()) for name, tensor in inputs.items()}
