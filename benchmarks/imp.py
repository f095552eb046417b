"""IMP: what choosing the dynamic half costs, from 12 million to a billion expert parameters.

Time: `partition` (element, snip, 3 rounds, 8 batches as by default, of 8 sentences of 64 tokens) against the forward
and backward passes that it is made of: the same batch as many times, gradients of the experts alone, each dropped when
it is complete. Both in one process, on an upcycled model (all copies equal), which is taken back to where it was each
time. What IMP adds depends on the parameters alone: part of it to every pass, so it weighs more than with the 32
sentences that the GLUE job takes by default, and part to every round, so it weighs most with 1 batch (no target).

Memory: what is held at most beyond the model, each in a fresh process; "scoring" is IMP's passes without what follows.
"allowed" is the target: what the passes take, one score per element of one copy, and 1.2 times that once more of the
largest layer.

Selection: the exact global choice of half of all scores, in a fresh process.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from benchmarks.comparison import Case, Job, Measured
from benchmarks.device import Clock, device, peak, reset_peak, return_freed_memory, seconds_of
from benchmarks.fresh import each_in_fresh_process, in_fresh_process
from benchmarks.targets import Target
from benchmarks.timing import interleaved
from padnet_hf import PADBertConfig, PADBertForSequenceClassification, PartitionConfig, partition
from padnet_hf.method.criteria import criterion_named
from padnet_hf.method.layer import pad_layers, pad_weights
from padnet_hf.method.scoring import Batch, no_trace, score_parameters
from padnet_hf.method.selection import select_elements

TIME, MEMORY, SELECTION = "partition", "memory of partition", "selection"
PASSES, SCORING, PARTITION, ALLOWED = "passes alone", "scoring", "partition", "allowed"
SELECT, SCORES = "select_elements", "the scores themselves"
BEYOND = "extra bytes"
TWO_ROUNDS = PartitionConfig(num_batches=1, num_rounds=2)  # the peak is reached in the last round, whichever it is
TARGETS = [
    Target(
        "IMP over the same forward and backward passes alone, time",
        TIME,
        (PARTITION,),
        1.15,
        PASSES,
        equal={"batches": 8},
    ),
    Target("IMP, extra memory to what is allowed", MEMORY, (PARTITION,), 1.00, ALLOWED, BEYOND),
    Target(
        "exact global selection over 450M scores, time",
        SELECTION,
        (SELECT,),
        10.0,
        by="value",
        least={"scores": 450_000_000},
    ),
    Target("same, extra memory to the scores' own", SELECTION, (SELECT,), 1.00, SCORES, BEYOND),
]


@dataclass(frozen=True)
class Size:
    """A BERT with 8 experts of this shape, and the number of batches.

    rounds, warm_up: of timing, those that count and those before. memory: whether it is measured too.
    """

    layers: int
    hidden: int
    inner: int
    rounds: int
    warm_up: int = 1
    memory: bool = True
    batches: int = PartitionConfig().num_batches

    @property
    def experts(self) -> int:
        """Parameters of all experts, biases left out."""
        return 8 * self.layers * 2 * self.hidden * self.inner

    @property
    def case(self) -> Case:
        shape = f"{self.layers} layers {self.hidden}/{self.inner}"
        return {"expert parameters": self.experts, "shape": shape}


SIZES = (
    Size(3, 256, 1024, 5, memory=False),
    Size(6, 384, 1536, 3),
    Size(12, 768, 3072, 1, warm_up=0, memory=False),
    Size(12, 768, 3072, 1, batches=1),
    Size(16, 1024, 4096, 1, warm_up=0, batches=1),
)
QUICK = (Size(2, 32, 64, 1), Size(2, 32, 64, 1, batches=1))
SCORE_COUNTS = (48_000_000, 192_000_000, 450_000_000)


def jobs(quick: bool) -> Iterator[Job]:
    """Time at every size, memory at every size, selection."""
    yield from jobs_of(QUICK, (96_000,), 1) if quick else jobs_of(SIZES, SCORE_COUNTS, 3)


def jobs_of(sizes: Sequence[Size], counts: Sequence[int], selections: int) -> Iterator[Job]:
    """The same at these sizes, and with these numbers of scores so many times."""
    for size in sizes:
        yield Job(TIME, {**size.case, "batches": size.batches}, partial(time_partition, size), size.rounds, (PASSES,))
    for size in sizes:
        if size.memory:
            yield Job(MEMORY, size.case, partial(measure_memory, size), 1, (ALLOWED,))
    for count in counts:
        yield Job(SELECTION, {"scores": count}, partial(measure_selection, count), selections, (SCORES,))


def build(size: Size) -> PADBertForSequenceClassification:
    """A fully dynamic model whose copies are all equal, as after upcycling."""
    torch.manual_seed(0)
    shape = {"num_hidden_layers": size.layers, "hidden_size": size.hidden, "intermediate_size": size.inner}
    heads = max(1, size.hidden // 64)
    config = PADBertConfig(**shape, num_attention_heads=heads, vocab_size=1000, router_init_std=0.02)
    with device(), torch.no_grad():
        model = PADBertForSequenceClassification(config)
        for weight in pad_weights(model).values():
            weight.dynamic[1:] = weight.dynamic[0]
    return model


def batch() -> Batch:
    """8 sentences of 64 random tokens, with labels."""
    ids = torch.randint(1000, (8, 64), device=device())
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": ids[:, 0] % 2}


def passes(model: nn.Module, inputs: Batch, config: PartitionConfig) -> None:
    """As many forward and backward passes as IMP makes."""
    with _experts_alone(model):
        for _ in range(config.num_rounds * config.num_batches):
            model(**inputs).loss.backward()


@contextmanager
def _experts_alone(model: nn.Module) -> Iterator[None]:
    """Evaluation mode; gradients of the experts' weights alone, each dropped as soon as it is complete."""
    trained = [weight.dynamic for weight in pad_weights(model).values()]

    def drop(parameter: Tensor) -> None:
        parameter.grad = None

    hooks = [parameter.register_post_accumulate_grad_hook(drop) for parameter in trained]
    model.eval().requires_grad_(False)
    for parameter in trained:
        parameter.requires_grad_()
    yield
    model.requires_grad_()
    for hook in hooks:
        hook.remove()


def time_partition(size: Size, rounds: int, clock: Clock) -> Measured:
    """Seconds of partition and of its passes, in the same rounds."""
    model = build(size)
    inputs, config = batch(), PartitionConfig(num_batches=size.batches)
    calls = {
        PASSES: partial(passes, model, inputs, config),
        PARTITION: partial(partition_and_undo, model, inputs, config),
    }
    return {"seconds": interleaved(calls, rounds, clock, size.warm_up)}


def partition_and_undo(model: PADBertForSequenceClassification, inputs: Batch, config: PartitionConfig) -> None:
    """Partition a model and make it fully dynamic again: partition leaves the old tensors as they were."""
    before = {weight: weight.dynamic.detach() for weight in pad_weights(model).values()}
    partition(model, [inputs] * config.num_batches, config, progress=False)
    for weight, copies in before.items():
        weight.become({"dynamic": copies})
    model.config.partition = model.config.dynamic_counts = None


def score(model: nn.Module, inputs: Batch) -> None:
    """One round of IMP's scoring."""
    scored = [weight.dynamic for weight in pad_weights(model).values()]
    with no_trace(model, scored):
        score_parameters(model, scored, [inputs], criterion_named("snip"), torch.Generator())


def measure_memory(size: Size, rounds: int, clock: Clock) -> Measured:
    """Bytes beyond the model at most, of each step in a fresh process; and what is allowed."""
    calls = {name: partial(extra_memory, size, name) for name in (PASSES, SCORING, PARTITION)}
    found = each_in_fresh_process(calls, rounds)[BEYOND]
    with torch.device("meta"):
        layers = [
            sum(w.shape.numel() for w in pad_weights(layer).values()) for layer in pad_layers(build(size)).values()
        ]
    scores = 4 * (sum(layers) + 1.2 * max(layers))
    return {BEYOND: {**found, ALLOWED: [value + scores for value in found[PASSES]]}}


def extra_memory(size: Size, name: str) -> dict[str, float]:
    """Bytes beyond the model at most, in this very process: call it in a fresh one."""
    model, inputs = build(size), batch()
    actions: dict[str, Callable[[], object]] = {
        PASSES: partial(passes, model, inputs, TWO_ROUNDS),
        SCORING: partial(score, model, inputs),
        PARTITION: partial(partition, model, [inputs], TWO_ROUNDS, progress=False),
    }
    return_freed_memory()
    before = reset_peak()
    actions[name]()
    return {BEYOND: peak() - before}


def measure_selection(count: int, rounds: int, clock: Clock) -> Measured:
    """Seconds and extra bytes of choosing half of `count` scores, in a fresh process each time."""
    found = [in_fresh_process(select, count, clock) for _ in range(rounds)]
    bytes_of = {SELECT: [one[BEYOND] for one in found], SCORES: [4 * count for _ in found]}
    return {"seconds": {SELECT: [one["seconds"] for one in found]}, BEYOND: bytes_of}


def select(count: int, clock: Clock) -> dict[str, float]:
    """Choose half of `count` scores, in 24 tensors as of 12 layers, in this very process: call it in a fresh one."""
    torch.manual_seed(0)
    scores = [torch.rand(count // 24, device=device()) for _ in range(24)]
    before = reset_peak()
    seconds = seconds_of(partial(select_elements, scores, 0.5, "global", [count // 24] * 24), clock)
    return {"seconds": seconds, BEYOND: peak() - before}
