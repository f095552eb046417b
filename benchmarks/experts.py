"""Feed-forward layers with 8 experts, 2 per token: dense, fully dynamic with transformers' own code, and ours.

All variants of a case share inputs and routing. "floor" is the time of the bare matrix products that a layer's
multiply-adds need (benchmarks/floor.py). Ours run by our default implementation where no other is named; transformers'
own is grouped_mm by default.

Not the full cross product, which would take hours: all variants at 768/3072 with 1,024 and 4,096 tokens; what the
targets speak of at smaller and larger layers, from 128 to 16,384 tokens (16,384 at 384/1536, where it costs as much as
4,096 at 768/3072); bfloat16 at one size.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from benchmarks.comparison import Job, Measured
from benchmarks.device import Clock, device
from benchmarks.floor import Floor
from benchmarks.fresh import each_in_fresh_process
from benchmarks.layers import LayerSizes
from benchmarks.targets import Target
from benchmarks.timing import interleaved
from benchmarks.training import measure_steps
from benchmarks.variants import (
    BASELINE,
    CACHED,
    DENSE,
    FLOOR,
    OURS,
    UNIT_3,
    UNIT_5,
    UNIT_FLOOR,
    VARIANTS,
    build,
    build_stack,
)

FORWARD, BOTH, STEP = "forward", "forward+backward", "training step"
MODES = (FORWARD, BOTH)
MAIN = (DENSE, BASELINE, OURS, UNIT_5, f"{UNIT_5}, grouped_mm", "element 0.5", FLOOR, UNIT_FLOOR)
RATIOS = (*MAIN, UNIT_3, f"{UNIT_3}, grouped_mm", "unit 0.7", "element 0.3", "element 0.7")
STEP_VARIANTS = (BASELINE, OURS, UNIT_5, "element 0.5")
_LARGE = {"least": {"tokens": 4096}, "equal": {"dtype": "float32"}}
_MEDIUM = {"least": {"tokens": 1024}, "equal": {"dtype": "float32"}}
TARGETS = [
    Target(
        "unit 0.5, forward, best implementation, >= 1,024 tokens, to transformers grouped_mm (arithmetic: 0.75)",
        *(FORWARD, (UNIT_5, f"{UNIT_5}, grouped_mm"), 0.77, BASELINE),
        **_MEDIUM,
    ),
    Target(
        "same, forward+backward",
        *(BOTH, (UNIT_5, f"{UNIT_5}, grouped_mm"), 0.74, BASELINE),
        **_MEDIUM,
    ),
    Target(
        "unit 0.3, forward (arithmetic: 0.65)",
        *(FORWARD, (UNIT_3, f"{UNIT_3}, grouped_mm"), 0.67, BASELINE),
        **_MEDIUM,
    ),
    Target("element 0.5, forward (earlier target)", FORWARD, ("element 0.5",), 1.25, BASELINE, **_MEDIUM),
    Target("same, cached (earlier target)", FORWARD, (CACHED,), 1.05, BASELINE, **_MEDIUM),
    *(
        Target(
            f"{name}, {mode}, to the floor of its own multiply-adds, >= 4,096 tokens",
            mode,
            names,
            1.15,
            floor,
            **_LARGE,
        )
        for name, names, floor in (
            (UNIT_5, (UNIT_5, f"{UNIT_5}, grouped_mm"), UNIT_FLOOR),
            (OURS, (OURS,), FLOOR),
            ("element 0.5", ("element 0.5",), FLOOR),
        )
        for mode in MODES
    ),
    Target(
        "element 0.5, forward+backward, 4,096 tokens, to transformers grouped_mm",
        *(BOTH, ("element 0.5",), 1.10, BASELINE),
        equal={"tokens": 4096, "dtype": "float32"},
    ),
    Target(
        "same, whole training step with AdamW",
        *(STEP, ("element 0.5",), 1.00, BASELINE),
        equal={"tokens": 4096},
    ),
]


@dataclass(frozen=True)
class Cell:
    """Variants that are timed together at one size."""

    hidden: int
    inner: int
    tokens: int
    variants: tuple[str, ...] = MAIN
    rounds: int = 5
    dtype: str = "float32"


CELLS = (
    Cell(768, 3072, 128, rounds=11),
    Cell(768, 3072, 1024, (*RATIOS, "transformers eager", "unit 0.7, grouped_mm", CACHED)),
    Cell(768, 3072, 4096, RATIOS, rounds=4),
    Cell(384, 1536, 1024, rounds=11),
    Cell(384, 1536, 4096),
    Cell(384, 1536, 16384, rounds=3),
    Cell(1024, 4096, 1024, rounds=3),
    Cell(768, 3072, 1024, rounds=7, dtype="bfloat16"),
)
QUICK = (Cell(16, 32, 64, tuple(VARIANTS), rounds=2), Cell(16, 32, 64, rounds=1, dtype="bfloat16"))


@dataclass(frozen=True)
class Stack:
    """Layers with their routers, one after the other, whose training steps are measured."""

    layers: int
    hidden: int
    inner: int
    tokens: int
    variants: tuple[str, ...] = STEP_VARIANTS
    rounds: int = 3
    dtype: str = "float32"


STACK = Stack(2, 768, 3072, 4096)
QUICK_STACK = Stack(1, 16, 32, 64, (BASELINE, "element 0.5"), rounds=1)


def jobs(quick: bool) -> Iterator[Job]:
    """Both modes of every cell, then the training step."""
    yield from cell_jobs(QUICK if quick else CELLS)
    yield step_job(QUICK_STACK if quick else STACK)


def cell_jobs(cells: Iterable[Cell]) -> Iterator[Job]:
    """Both modes of every cell."""
    for cell in cells:
        case = {"shape": f"{cell.hidden}/{cell.inner}", "tokens": cell.tokens, "dtype": cell.dtype}
        for mode in MODES:
            measure = partial(time_cell, cell, mode)
            yield Job(mode, case, measure, cell.rounds, (BASELINE, OURS), (cell.tokens, "tokens"))


def step_job(stack: Stack) -> Job:
    """A training step of every variant of a stack."""
    case = {"layers": stack.layers, "shape": f"{stack.hidden}/{stack.inner}", "tokens": stack.tokens}
    return Job(STEP, case, partial(time_steps, stack), stack.rounds, (BASELINE,), (stack.tokens, "tokens"))


def run(layer: nn.Module, mode: str, hidden: Tensor, index: Tensor, weights: Tensor) -> None:
    """One forward pass in evaluation, or one forward and backward pass with all gradients."""
    if mode == FORWARD:
        with torch.no_grad():
            layer.eval()(hidden, index, weights)
        return
    hidden = hidden.detach().requires_grad_()
    output = layer.train()(hidden, index, weights)
    output.backward(torch.ones_like(output))
    layer.zero_grad()


def routing(tokens: int, sizes: LayerSizes) -> tuple[Tensor, Tensor]:
    """Chosen experts (T, K), and gates (T, K) summing to one."""
    top, index = torch.randn(tokens, sizes.num_experts).topk(sizes.top_k)
    return index, top.softmax(dim=-1)


def time_cell(cell: Cell, mode: str, rounds: int, clock: Clock) -> Measured:
    """Seconds of all variants of a cell that have this mode, in the same rounds."""
    torch.manual_seed(0)
    sizes, dtype = LayerSizes(cell.hidden, cell.inner), getattr(torch, cell.dtype)
    calls: dict[str, Callable[[], None]] = {}
    with device():
        hidden, (index, weights) = torch.randn(cell.tokens, cell.hidden, dtype=dtype), routing(cell.tokens, sizes)
        for name in cell.variants:
            variant = VARIANTS[name]
            if variant.kind == "floor":
                calls[name] = partial(Floor(sizes, cell.tokens, variant.ratio, dtype).run, mode)
            elif mode == FORWARD or not variant.cached:  # cached weights are for evaluation
                calls[name] = partial(run, build(variant, sizes).to(dtype), mode, hidden, index, weights.to(dtype))
    return {"seconds": interleaved(calls, rounds, clock)}


def time_steps(stack: Stack, rounds: int, clock: Clock) -> Measured:
    """Training steps of every variant of a stack of layers, each in a fresh process."""
    return each_in_fresh_process({name: partial(step, name, stack, clock) for name in stack.variants}, rounds)


def step(name: str, sizes: Stack, clock: Clock) -> dict[str, float]:
    """A training step of one stack, router included, in this very process."""
    dtype, of_layer = getattr(torch, sizes.dtype), LayerSizes(sizes.hidden, sizes.inner)
    with device():
        inputs = torch.randn(sizes.tokens, sizes.hidden, dtype=dtype)

    def build() -> nn.Module:
        return build_stack(VARIANTS[name], sizes.layers, of_layer).to(dtype)

    def loss(stack: nn.Module, size: int) -> Tensor:
        hidden = inputs[:size]
        for layer in stack:
            hidden = hidden + layer(hidden)
        return hidden.square().mean()

    return measure_steps(build, loss, of_layer.num_experts, sizes.tokens, clock)
