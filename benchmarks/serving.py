"""Serving: a BERT of the size of MiniLM (6 layers, 384/1536) with 8 experts, 2 per token, random weights.

Compared are dense BERT (stock), ours fully dynamic, and ours partitioned at 0.5 at random.

Pipeline: transformers' `pipeline` over 32 sentences of 8 to 64 words, one at a time and all in one batch, padded.
onnxruntime: the exported graphs (`export_model`), on the CPU, batches of 1 and 32 with 64 tokens each. The int8 file's
weights are turned back once, when it is loaded ("session.disable_quant_qdq").
torch.compile: inductor, fullgraph and dynamic shapes, against the same model eager, batches of 32; a training step is
forward and backward. Compiling is not counted: it takes minutes each. A ResNet (three basic blocks of 64, 128 and 256
channels, 4 kernels, 32 x 32) likewise, fully dynamic and partitioned at 0.3.
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
from padnet_hf import PADResNetConfig, PADResNetForImageClassification, PartitionConfig, partition
from padnet_hf.export.exporting import export_model
from padnet_hf.export.onnx_file import OnnxRunner
from padnet_hf.method.layout import Granularity

PIPELINE, ONNX, COMPILED, COMPILED_STEP = "pipeline", "onnxruntime", "torch.compile", "torch.compile, training step"
VARIANTS = (DENSE, OURS, UNIT, ELEMENT)
INT8 = f"{UNIT}, int8 file"
RESNETS: dict[str, Granularity | None] = {OURS: None, "unit 0.3": "unit", "element 0.3": "element"}
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
    resnets: tuple[str, ...] = tuple(RESNETS)
    backend: str = "inductor"
    rounds: int = 7


QUICK = Sizes(Shape(1, 32, 64, 2, 100), 8, 2, (2,), (DENSE, UNIT), (OURS,), "eager", 1)


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
    batch = sizes.batches[-1]
    for part, training in ((COMPILED, False), (COMPILED_STEP, True)):
        for variant in sizes.variants:
            case = {"variant": variant, "sentences": batch, "tokens each": sizes.tokens, **model}
            measure = partial(compiled, partial(_made, variant, shape), _inputs(sizes, batch), sizes.backend, training)
            yield Job(part, case, measure, sizes.rounds, ("eager",), (batch, "sentences"))
        for variant in sizes.resnets:
            case = {"variant": variant, "images": batch, "model": "ResNet, 3 blocks 64/128/256"}
            pixels = {"pixel_values": torch.randn(batch, 3, 32, 32, device=device())}
            measure = partial(compiled, partial(_resnet, RESNETS[variant]), pixels, sizes.backend, training)
            yield Job(part, case, measure, sizes.rounds, ("eager",), (batch, "images"))


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


def compiled(
    make: Callable[[], nn.Module],
    inputs: dict[str, Tensor],
    backend: str,
    training: bool,
    rounds: int,
    clock: Clock,
) -> Measured:
    """Seconds of a forward pass, or of a training step without its optimizer, eager and compiled."""
    torch.compiler.reset()
    model = make().train(training)
    if training:
        labels = torch.zeros(len(next(iter(inputs.values()))), dtype=torch.long, device=device())
        inputs = {**inputs, "labels": labels}

    def run(function: Callable[..., object]) -> None:
        with torch.set_grad_enabled(training):
            output = function(**inputs)
        if training:
            output.loss.backward()

    fast = torch.compile(model, fullgraph=True, dynamic=True, backend=backend)
    calls = {"eager": partial(run, model), "compiled": partial(run, fast)}
    return {"seconds": interleaved(calls, rounds, clock, warm_up=2)}


def _made(variant: str, shape: Shape) -> nn.Module:
    torch.manual_seed(0)
    with device():
        return build(variant, shape).eval()


def _resnet(granularity: Granularity | None) -> nn.Module:
    torch.manual_seed(0)
    config = PADResNetConfig(embedding_size=64, hidden_sizes=[64, 128, 256], depths=[1, 1, 1], layer_type="basic")
    with device():
        model = PADResNetForImageClassification(config)
    if granularity:
        partition(model, config=PartitionConfig(0.3, granularity, "random"), progress=False)
    return model.eval()


def _inputs(sizes: Sizes, batch: int) -> dict[str, Tensor]:
    """Random tokens, no padding."""
    ids = torch.randint(sizes.shape.vocab_size, (batch, sizes.tokens))
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "token_type_ids": torch.zeros_like(ids)}
    return {name: tensor.to(device()) for name, tensor in inputs.items()}
