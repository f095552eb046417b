"""A language model whole: the shape of a Llama of 0.5B (896/4,864) in 4 of 24 layers, 8 experts, 2 per token.

Weights are random. The vocabulary is a sixth of 32,000 too, so that its matrix has the share that it has in 24 layers.

Compared are dense Llama, transformers' Mixtral of the same sizes as it comes (grouped_mm) and with its loop over
experts (eager), ours fully dynamic, ours partitioned at 0.5 at random, and the unit partition's stock export
(`to_stock`), which runs transformers' code alone. Routers are random too.

Decoding: steps of one token for every text with a cache of 128 tokens, for one text and for eight. Prefill: one text of
2,048 tokens that fills a cache, logits of the last token. Both in one process. Training step (forward, backward,
AdamW, balance loss where there are routers) of four texts of 512 tokens and its peak memory: a fresh process each.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from transformers import DynamicCache, LlamaConfig, LlamaForCausalLM, MixtralConfig, MixtralForCausalLM, PreTrainedModel

from benchmarks.comparison import Job, Measured
from benchmarks.device import Clock, device
from benchmarks.fresh import each_in_fresh_process
from benchmarks.layers import scatter_masks
from benchmarks.partitioned import partitioned_fields
from benchmarks.targets import Target
from benchmarks.timing import interleaved
from benchmarks.training import measure_steps
from padnet_hf import PADLlamaConfig, PADLlamaForCausalLM
from padnet_hf.export.stock import to_stock

DECODING, PREFILL, STEP = "decoding", "prefill", "training step"
DENSE, MIXTRAL, MIXTRAL_EAGER = "dense", "transformers' Mixtral", "transformers' Mixtral, eager"
OURS, UNIT, ELEMENT, STOCK = "ours, fully dynamic", "unit 0.5", "element 0.5", "unit 0.5, stock export"
VARIANTS = (DENSE, MIXTRAL, MIXTRAL_EAGER, OURS, UNIT, ELEMENT, STOCK)
TARGETS = [
    Target("unit 0.5, decoding, one text", DECODING, (UNIT,), 0.80, MIXTRAL, equal={"texts": 1}),
    *(
        Target(f"element 0.5, decoding, {texts}, to ours, fully dynamic", DECODING, (ELEMENT,), 1.10, OURS, equal=case)
        for texts, case in (("one text", {"texts": 1}), ("eight texts", {"texts": 8}))
    ),
    Target("unit 0.5, prefill", PREFILL, (UNIT,), 0.77, MIXTRAL),
    Target("same, training step with AdamW", STEP, (UNIT,), 0.82, MIXTRAL),
    *(Target(f"stock export against ours, {part}", part, (STOCK,), 1.05, UNIT) for part in (DECODING, PREFILL)),
]


@dataclass(frozen=True)
class Shape:
    """Fields of the configuration that decide the size."""

    num_hidden_layers: int = 4
    hidden_size: int = 896
    intermediate_size: int = 4864
    num_attention_heads: int = 14
    num_key_value_heads: int = 2
    vocab_size: int = 5_376


@dataclass(frozen=True)
class Sizes:
    """What is measured; texts in tokens."""

    shape: Shape = Shape()
    in_cache: int = 128
    steps: int = 16
    decoded: tuple[int, ...] = (1, 8)
    prefilled: int = 2048
    trained: tuple[int, int] = (4, 512)
    rounds: int = 11
    training_rounds: int = 3
    variants: tuple[str, ...] = VARIANTS
    dtype: str = "float32"


QUICK = Sizes(Shape(2, 32, 64, 2, 1, 100), 8, 2, (2,), 16, (2, 8), 1, 1, (DENSE, MIXTRAL, UNIT, STOCK))


def jobs(quick: bool) -> Iterator[Job]:
    """Decoding, prefill, then training."""
    yield from jobs_of(QUICK if quick else Sizes())


def jobs_of(sizes: Sizes) -> Iterator[Job]:
    """The same in these sizes."""
    for texts in sizes.decoded:
        case = {"texts": texts, "tokens in the cache": sizes.in_cache}
        work = (texts * sizes.steps, "tokens")
        yield Job(DECODING, case, partial(decode, sizes, texts), sizes.rounds, (MIXTRAL, DENSE, UNIT), work)
    case, work = {"texts": 1, "tokens each": sizes.prefilled}, (sizes.prefilled, "tokens")
    yield Job(PREFILL, case, partial(prefill, sizes), sizes.rounds, (MIXTRAL, DENSE, UNIT), work)
    texts, length = sizes.trained
    case, work = {"texts": texts, "tokens each": length}, (texts * length, "tokens")
    yield Job(STEP, case, partial(train, sizes), sizes.training_rounds, (MIXTRAL, DENSE), work)


def build(variant: str, shape: Shape) -> PreTrainedModel:
    """A model with random weights, partitioned from the start."""
    sizes = {**vars(shape), "max_position_embeddings": 4096}
    if variant == DENSE:
        return LlamaForCausalLM(LlamaConfig(**sizes))
    if variant.startswith(MIXTRAL):
        chosen = {"experts_implementation": "eager"} if variant == MIXTRAL_EAGER else {}
        routing = {"num_local_experts": 8, "num_experts_per_tok": 2, "output_router_logits": True}
        return MixtralForCausalLM(MixtralConfig(**sizes, **routing, **chosen))
    fields = {**sizes, "router_init_std": 0.02}  # a router of zeros would send all tokens to the same experts
    if variant != OURS:
        granularity = "element" if variant == ELEMENT else "unit"
        fields |= partitioned_fields(PADLlamaForCausalLM, PADLlamaConfig(**fields), granularity)
    model = PADLlamaForCausalLM(PADLlamaConfig(**fields))
    scatter_masks(model)
    if variant != STOCK:
        return model
    stock = to_stock(model)
    stock.config.output_router_logits = True  # in training with its balance loss, as the others
    return stock


def build_as(variant: str, sizes: Sizes) -> PreTrainedModel:
    """The same in the dtype that is measured."""
    return build(variant, sizes.shape).to(getattr(torch, sizes.dtype))


def _built(sizes: Sizes) -> dict[str, PreTrainedModel]:
    torch.manual_seed(0)
    with device():
        return {name: build_as(name, sizes).eval() for name in sizes.variants}


def _tokens(sizes: Sizes, texts: int, length: int) -> Tensor:
    return torch.randint(sizes.shape.vocab_size, (texts, length), device=device())


@torch.no_grad()
def decode(sizes: Sizes, texts: int, rounds: int, clock: Clock) -> Measured:
    """Seconds of some steps of every variant, in the same rounds."""
    prompt, new = _tokens(sizes, texts, sizes.in_cache), _tokens(sizes, texts, sizes.steps)

    def steps(model: nn.Module, cache: DynamicCache) -> None:
        with torch.no_grad():
            for token in new.split(1, dim=1):
                model(token, past_key_values=cache, use_cache=True)
        cache.crop(-sizes.steps)

    calls = {
        name: partial(steps, model, model(prompt, use_cache=True).past_key_values)
        for name, model in _built(sizes).items()
    }
    return {"seconds": interleaved(calls, rounds, clock)}


def prefill(sizes: Sizes, rounds: int, clock: Clock) -> Measured:
    """Seconds of a forward pass over a long text of every variant, in the same rounds."""
    prompt = _tokens(sizes, 1, sizes.prefilled)

    def fill(model: nn.Module) -> None:
        with torch.no_grad():
            model(prompt, use_cache=True, logits_to_keep=1)

    return {
        "seconds": interleaved({name: partial(fill, model) for name, model in _built(sizes).items()}, rounds, clock)
    }


def train(sizes: Sizes, rounds: int, clock: Clock) -> Measured:
    """Seconds and peak memory of a training step of every variant, each in a fresh process."""
    return each_in_fresh_process({name: partial(step, name, sizes, clock) for name in sizes.variants}, rounds)


def step(variant: str, sizes: Sizes, clock: Clock) -> dict[str, float]:
    """A training step of one variant, in this very process."""
    texts, length = sizes.trained

    def loss(model: nn.Module, texts: int) -> Tensor:
        tokens = _tokens(sizes, texts, length)
        return model(tokens, labels=tokens).loss

    return measure_steps(partial(build_as, variant, sizes), loss, 1, texts, clock)
