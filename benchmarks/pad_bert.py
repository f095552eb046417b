"""PAD-BERT whole: BERT-base shape, 8 experts, 2 per token, sentences of 128 tokens, random weights.

Compared are dense BERT (stock), fully dynamic BERT with experts run by transformers' own grouped_mm code, ours fully
dynamic, and ours partitioned at 0.5, at random: times and memory do not depend on which elements are dynamic. Routers
are random too: an expert has up to three times its even share of the tokens, or hardly any.

Inference: all in one process. Training step (forward, backward, AdamW) and its peak memory: a fresh process each,
since five models with their optimizers do not fit side by side.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from transformers import BertConfig, BertForSequenceClassification

from benchmarks.comparison import Job, Measured
from benchmarks.device import Clock, device
from benchmarks.fresh import each_in_fresh_process
from benchmarks.layers import scatter_masks, use_transformers_code
from benchmarks.partitioned import partitioned_fields
from benchmarks.targets import Target
from benchmarks.timing import interleaved
from benchmarks.training import measure_steps
from padnet_hf import PADBertConfig, PADBertForSequenceClassification
from padnet_hf.method.layout import Granularity

INFERENCE, STEP = "inference", "training step"
RATIO = 0.5
DENSE, BASELINE, OURS = "dense", "transformers, fully dynamic", "ours, fully dynamic"
UNIT, ELEMENT = f"unit {RATIO}", f"element {RATIO}"
VARIANTS = (DENSE, BASELINE, OURS, UNIT, ELEMENT)
TARGETS = [
    Target("PAD-BERT base, unit 0.5, forward, batch 32", INFERENCE, (UNIT,), 0.82, BASELINE, equal={"sentences": 32}),
    Target(
        "PAD-BERT base, element 0.5, forward, one sentence, to ours, fully dynamic",
        *(INFERENCE, (ELEMENT,), 1.10, OURS),
        equal={"sentences": 1},
    ),
    Target(
        "PAD-BERT base, unit 0.5, training step with AdamW, batch 32",
        STEP,
        (UNIT,),
        0.82,
        BASELINE,
        equal={"sentences": 32},
    ),
    *(
        Target(f"same, peak memory, batch {n}", STEP, (UNIT,), most, BASELINE, "peak bytes", equal=case)
        for n, most in ((8, 0.64), (32, 0.70))
        for case in ({"sentences": n},)
    ),
]


@dataclass(frozen=True)
class Shape:
    """Fields of the configuration that decide the size."""

    num_hidden_layers: int = 12
    hidden_size: int = 768
    intermediate_size: int = 3072
    num_attention_heads: int = 12
    vocab_size: int = 30522


@dataclass(frozen=True)
class Sizes:
    """What is measured: batches with their rounds, inference and training."""

    shape: Shape = Shape()
    length: int = 128
    inference: tuple[tuple[int, int], ...] = ((1, 11), (8, 5), (32, 2))
    training: tuple[tuple[int, int], ...] = ((1, 4), (8, 3), (32, 2))
    trained: tuple[str, ...] = VARIANTS
    dtype: str = "float32"


QUICK = Sizes(Shape(2, 32, 64, 2, 100), 16, ((2, 1),), ((2, 1),), (DENSE, BASELINE, UNIT))


def jobs(quick: bool) -> Iterator[Job]:
    """Inference at every batch size, then training."""
    yield from jobs_of(QUICK if quick else Sizes())


def jobs_of(sizes: Sizes) -> Iterator[Job]:
    """The same in these sizes."""
    for part, measure, batches in ((INFERENCE, infer, sizes.inference), (STEP, train, sizes.training)):
        for batch, rounds in batches:
            work = (batch * sizes.length, "tokens")
            case = {"sentences": batch, "tokens each": sizes.length}
            yield Job(part, case, partial(measure, sizes, batch), rounds, (BASELINE, DENSE), work)


def build(variant: str, shape: Shape) -> nn.Module:
    """A model with random weights, partitioned from the start."""
    if variant == DENSE:
        return BertForSequenceClassification(BertConfig(**vars(shape)))
    fields = {**vars(shape), "router_init_std": 0.02}  # a router of zeros would send all tokens to the same experts
    granularity: Granularity | None = {UNIT: "unit", ELEMENT: "element"}.get(variant)
    if granularity:
        whole = PADBertConfig(**fields)
        fields |= partitioned_fields(PADBertForSequenceClassification, whole, granularity, RATIO)
    model = PADBertForSequenceClassification(PADBertConfig(**fields))
    scatter_masks(model)
    if variant == BASELINE:
        model.set_experts_implementation("grouped_mm")
        use_transformers_code(model)
    return model


def build_as(variant: str, sizes: Sizes) -> nn.Module:
    """The same in the dtype that is measured."""
    return build(variant, sizes.shape).to(getattr(torch, sizes.dtype))


def sentences(batch: int, sizes: Sizes) -> dict[str, Tensor]:
    """Random tokens, no padding."""
    ids = torch.randint(sizes.shape.vocab_size, (batch, sizes.length), device=device())
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def infer(sizes: Sizes, batch: int, rounds: int, clock: Clock) -> Measured:
    """Seconds of a forward pass of every variant, in the same rounds."""
    torch.manual_seed(0)
    with device():
        models = {name: build_as(name, sizes).eval() for name in VARIANTS}
    inputs = sentences(batch, sizes)

    def answer(model: nn.Module) -> None:
        with torch.no_grad():
            model(**inputs)

    return {"seconds": interleaved({name: partial(answer, model) for name, model in models.items()}, rounds, clock)}


def train(sizes: Sizes, batch: int, rounds: int, clock: Clock) -> Measured:
    """Seconds and peak memory of a training step of every variant, each in a fresh process."""
    return each_in_fresh_process({name: partial(step, name, sizes, batch, clock) for name in sizes.trained}, rounds)


def step(variant: str, sizes: Sizes, batch: int, clock: Clock) -> dict[str, float]:
    """A training step of one variant, in this very process."""

    def loss(model: nn.Module, batch: int) -> Tensor:
        return model(**sentences(batch, sizes), labels=torch.zeros(batch, dtype=torch.long, device=device())).loss

    return measure_steps(partial(build_as, variant, sizes), loss, 1, batch, clock)
