"""What a GPU is used for, in one run of some minutes: `python -m benchmarks gpu --minutes 8`. Most important first.

First of all small models are compared with themselves on the CPU (benchmarks/agreement.py); the run ends if they do not
agree. Then, by the other benches' code in sizes for a GPU, in bfloat16: layers of experts from 256 to 65,536 tokens;
ways to build an element weight; a language model, decoding above all, its shape that of a Llama of 0.5B in 8 of 24
layers, of which all that inference keeps built fits its default budget; PAD-BERT and ResNet-50; and, in float32, IMP
and selection. Peak memory is that of tensors, in the training steps. The first round of every job warms up and does not
count, since kernels are loaded and chosen in it.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from benchmarks import agreement, dynamic_conv, experts, imp, language_model, pad_bert
from benchmarks.comparison import DEVIATION, Job, Measured
from benchmarks.convolutions import PLAIN, UPSTREAM
from benchmarks.device import Clock, device
from benchmarks.experts import Cell, Stack
from benchmarks.targets import Target
from benchmarks.timing import interleaved
from benchmarks.variants import BASELINE, DENSE, UNIT_5
from padnet_hf.method.batched import merge_at_once
from padnet_hf.method.packing import merge_by_order, packed_order, positions_of, unpacked_copies

EXPERTS, LLAMA, BERT, RESNET, IMP = "experts", "language model", "PAD-BERT", "ResNet", "IMP"
BUILDING = "building an element weight"
AT_ONCE, ONE_BY_ONE, CONCATENATED = "at once (ours)", "copy by copy", "concatenated, gathered"
ELEMENT_5 = "element 0.5"
_FORWARD, _BOTH, _STEP = (f"{EXPERTS}, {part}" for part in (experts.FORWARD, experts.BOTH, experts.STEP))
TARGETS = [
    *(
        Target(
            f"largest deviation from the CPU, {dtype}: {what}",
            *(agreement.PART, (what,), most, "", DEVIATION, "value"),
            equal={"dtype": dtype},
        )
        for dtype, limits in (("float32", agreement.LIMITS), ("bfloat16", agreement.LIMITS_OF_HALVES))
        for what, most in limits.items()
    ),
    Target("unit 0.5, forward, to transformers grouped_mm", _FORWARD, (UNIT_5,), 0.80, BASELINE),
    Target("same, forward+backward", _BOTH, (UNIT_5,), 0.78, BASELINE),
    Target("same, peak memory of a training step", _STEP, (UNIT_5,), 0.65, BASELINE, "peak bytes"),
    Target("element 0.5, forward+backward, to transformers grouped_mm", _BOTH, (ELEMENT_5,), 1.15, BASELINE),
]


@dataclass(frozen=True)
class Weight:
    """An element weight to be built: copies, elements of one copy."""

    copies: int
    elements: int
    dtype: str = "bfloat16"
    rounds: int = 20


@dataclass(frozen=True)
class Sizes:
    """What is measured, most important first."""

    cells: tuple[Cell, ...]
    stacks: tuple[Stack, ...]
    weights: tuple[Weight, ...]
    llama: language_model.Sizes
    bert: pad_bert.Sizes
    resnet: dynamic_conv.Sizes
    imp: tuple[imp.Size, ...]
    scores: int
    selections: int = 3


_COMPARED = (DENSE, BASELINE, "transformers eager", UNIT_5, ELEMENT_5)
_TRAINED = (BASELINE, UNIT_5, ELEMENT_5)
FULL = Sizes(
    cells=tuple(
        Cell(hidden, inner, tokens, _COMPARED, 5 if tokens > 4096 else 15, "bfloat16")
        for hidden, inner in ((1024, 4096), (2048, 8192))
        for tokens in (256, 1024, 4096, 16_384, 65_536)
    ),
    stacks=(
        Stack(4, 1024, 4096, 16_384, _TRAINED, 3, "bfloat16"),
        Stack(2, 2048, 8192, 16_384, _TRAINED, 3, "bfloat16"),
    ),
    weights=(Weight(8, 1024 * 4096), Weight(8, 2048 * 8192), Weight(8, 4096)),
    llama=language_model.Sizes(
        language_model.Shape(num_hidden_layers=8, vocab_size=32_000), rounds=7, trained=(8, 1024), dtype="bfloat16"
    ),
    bert=pad_bert.Sizes(inference=((1, 11), (32, 7), (128, 5)), training=((32, 3),), dtype="bfloat16"),
    resnet=dynamic_conv.Sizes("ResNet-50", (1, 32), 32, 5),
    imp=(imp.Size(12, 768, 3072, 2),),
    scores=450_000_000,
)
QUICK = Sizes(
    cells=(Cell(16, 32, 64, _COMPARED, 1, "bfloat16"),),
    stacks=(Stack(1, 16, 32, 64, (BASELINE, UNIT_5), 1, "bfloat16"),),
    weights=(Weight(2, 64, rounds=1),),
    llama=replace(language_model.QUICK, dtype="bfloat16", variants=(language_model.MIXTRAL, language_model.UNIT)),
    bert=replace(pad_bert.QUICK, trained=(pad_bert.BASELINE, pad_bert.UNIT), dtype="bfloat16"),
    resnet=dynamic_conv.QUICK[0],
    imp=imp.QUICK[1:],
    scores=96_000,
    selections=1,
)


def jobs(quick: bool) -> Iterator[Job]:
    """The check, then what is measured, most important first."""
    sizes = QUICK if quick else FULL
    yield from agreement.jobs()
    yield from _of(EXPERTS, experts.cell_jobs(sizes.cells))
    yield from _of(EXPERTS, map(experts.step_job, sizes.stacks))
    for weight in sizes.weights:
        case = {"copies": weight.copies, "elements": weight.elements, "dtype": weight.dtype}
        yield Job(BUILDING, case, partial(build_ways, weight), weight.rounds, (AT_ONCE,))
    yield from _of(LLAMA, language_model.jobs_of(sizes.llama))
    yield from _of(BERT, pad_bert.jobs_of(sizes.bert))
    yield from _of(RESNET, _networks(sizes.resnet))
    yield from _of(IMP, imp.jobs_of(sizes.imp, (sizes.scores,), sizes.selections))


def _of(what: str, found: Iterator[Job]) -> Iterator[Job]:
    """Another bench's jobs, their parts told apart."""
    return (replace(job, part=f"{what}, {job.part}") for job in found)


def _networks(sizes: dynamic_conv.Sizes) -> Iterator[Job]:
    """A whole network of convolutions: inference, then a training step."""
    calls = [(dynamic_conv.INFERENCE, batch, partial(dynamic_conv.infer, sizes, batch)) for batch in sizes.batches]
    calls.append((dynamic_conv.STEP, sizes.training_batch, partial(dynamic_conv.train, sizes)))
    for part, batch, measure in calls:
        case = {"network": sizes.network, "images": batch}
        yield Job(part, case, measure, sizes.rounds, (PLAIN, UPSTREAM), (batch, "images"))


def ways_to_build(weight: Weight) -> dict[str, Callable[[], Tensor]]:
    """Calls that give all copies (E, N) of one weight whose elements are half dynamic, at random."""
    torch.manual_seed(0)
    dtype, half = getattr(torch, weight.dtype), weight.elements // 2
    with device():
        mask = torch.randperm(weight.elements) < half
        values = (
            torch.randn(weight.copies, half, dtype=dtype),
            torch.randn(weight.elements - half, dtype=dtype),
            torch.tensor(1.2, dtype=dtype),
            torch.tensor(0.8, dtype=dtype),
        )
    positions = positions_of(mask).int(), positions_of(~mask).int()
    order = packed_order(mask, half)

    def one_by_one() -> Tensor:
        dense = values[0].new_empty(weight.copies, weight.elements)
        for place, copy in zip(dense, unpacked_copies(*values, *positions), strict=True):
            place.copy_(copy)
        return dense

    return {
        AT_ONCE: partial(merge_at_once, None, *values, *positions),
        ONE_BY_ONE: one_by_one,
        CONCATENATED: partial(merge_by_order, *values, order),
    }


@torch.no_grad()
def build_ways(weight: Weight, rounds: int, clock: Clock) -> Measured:
    """Seconds of every way to build a weight."""
    return {"seconds": interleaved(ways_to_build(weight), rounds, clock)}
