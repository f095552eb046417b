"""Dynamic convolution in whole networks and layer by layer: plain, two ways of others, ours fully dynamic and at 0.3.

Upstream's way: broadcast, multiply, sum, one grouped convolution. CondConv's way, for single layers: a matrix product
and one grouped convolution, the computation of timm's CondConv2d. timm itself is not run: it needs torchvision, which
has no build for the CPU build of torch that the project is tested with.
"""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, partial

import torch
from torch import Tensor, nn
from transformers import AutoModelForImageClassification, PreTrainedModel

import padnet_hf  # noqa: F401 - registers the PAD models
from benchmarks.comparison import Job, Measured
from benchmarks.convolutions import (
    CONDCONV,
    ELEMENT,
    NETWORK_VARIANTS,
    NETWORKS,
    OURS,
    PLAIN,
    PLAIN_FUSED,
    UNIT,
    UNIT_FUSED,
    UPSTREAM,
    CondConv,
    LayerCase,
    UpstreamConv,
    build,
    layer_cases,
    replace_dynamic,
)
from benchmarks.device import Clock, device, peak, reset_peak
from benchmarks.fresh import each_in_fresh_process
from benchmarks.targets import Target
from benchmarks.timing import interleaved

INFERENCE, STEP, LAYER, MEMORY = "inference", "training step", "layer, forward", "memory of inference"
COMPARED = (PLAIN, UPSTREAM, OURS, ELEMENT, UNIT)
_JUDGED = {"network": "ResNet-50", "images": 8}
_PARTS = (
    (INFERENCE, OURS, UPSTREAM, 0.34, _JUDGED),
    (INFERENCE, UNIT, PLAIN, 1.12, _JUDGED),
    (STEP, UNIT, UPSTREAM, 0.45, _JUDGED),
    *((INFERENCE, UNIT, PLAIN, 1.25, {"network": "MobileNetV2 1.0", "images": batch}) for batch in (1, 8)),
)
TARGETS = [
    *(
        Target(
            f"{case['network']} at 224, batch {case['images']}, {part}: {variant} to {baseline}",
            *(part, (variant,), most, baseline),
            equal=case,
        )
        for part, variant, baseline, most, case in _PARTS
    ),
    Target(
        f"ResNet-50 at 224, batch 8, {INFERENCE}: {UNIT} to {UPSTREAM} (earlier target, less than plain takes)",
        *(INFERENCE, (UNIT,), 0.25, UPSTREAM),
        equal=_JUDGED,
    ),
    Target(
        f"same, peak memory of inference: {UNIT} to {UPSTREAM}",
        *(MEMORY, (UNIT,), 0.50, UPSTREAM, "peak bytes"),
        equal=_JUDGED,
    ),
]


@dataclass(frozen=True)
class Sizes:
    """What is measured of a network: batches of inference and of training (and of layers), and rounds."""

    network: str
    batches: tuple[int, ...]
    training_batch: int
    rounds: int


FULL = (
    Sizes("ResNet-50", (1, 8, 32), 8, 5),
    Sizes("MobileNetV2 1.0", (1, 8), 8, 9),
    Sizes("small ResNet", (1, 8, 32, 128), 128, 5),
)
QUICK = (Sizes("small ResNet", (2,), 2, 1),)


def jobs(quick: bool) -> Iterator[Job]:
    """Memory of the first network; networks; then the shapes of layers in each."""
    chosen = QUICK if quick else FULL
    first = chosen[0]
    case = {"network": first.network, "images": first.training_batch}
    compared = (UPSTREAM, UNIT) if quick else COMPARED
    yield Job(MEMORY, case, partial(measure_memory, first, compared), 1 if quick else 3, (UPSTREAM,))
    for sizes in chosen:
        training = (STEP, sizes.training_batch, partial(train, sizes))
        for part, batch, measure in (*((INFERENCE, b, partial(infer, sizes, b)) for b in sizes.batches), training):
            case = {"network": sizes.network, "images": batch}
            yield Job(part, case, measure, sizes.rounds, (PLAIN, UPSTREAM), (batch, "images"))
    for sizes in chosen:
        for layer in layer_cases(NETWORKS[sizes.network]):
            case = {
                "network": sizes.network,
                "layer": layer.shape,
                "images": sizes.training_batch,
                "times": layer.count,
            }
            yield Job(LAYER, case, partial(measure_layer, sizes, layer), sizes.rounds, (PLAIN, UPSTREAM, CONDCONV))


@cache
def network(variant: str, name: str) -> PreTrainedModel:
    """A network that several jobs measure."""
    with device():
        return build(variant, NETWORKS[name])


def images(name: str, batch: int) -> Tensor:
    """Random ones."""
    config = NETWORKS[name]
    return torch.randn(batch, config.num_channels, config.image_size, config.image_size, device=device())


def answer(model: nn.Module, inputs: Tensor) -> None:
    """One forward pass without gradients."""
    with torch.no_grad():
        model(inputs)


def learn(model: nn.Module, inputs: Tensor) -> None:
    """One forward and backward pass with all gradients."""
    model(inputs, labels=torch.zeros(len(inputs), dtype=torch.long, device=inputs.device)).loss.backward()
    model.zero_grad()


def infer(sizes: Sizes, batch: int, rounds: int, clock: Clock) -> Measured:
    """Seconds of inference with every variant of a network."""
    inputs = images(sizes.network, batch)
    calls = {v: partial(answer, network(v, sizes.network).eval(), inputs) for v in NETWORK_VARIANTS}
    return {"seconds": interleaved(calls, rounds, clock)}


def train(sizes: Sizes, rounds: int, clock: Clock) -> Measured:
    """Seconds of a training step with every variant that can be trained."""
    inputs = images(sizes.network, sizes.training_batch)
    names = [v for v in NETWORK_VARIANTS if v not in (PLAIN_FUSED, UNIT_FUSED)]
    calls = {v: partial(learn, network(v, sizes.network).train(), inputs) for v in names}
    return {"seconds": interleaved(calls, rounds, clock)}


def measure_layer(sizes: Sizes, case: LayerCase, rounds: int, clock: Clock) -> Measured:
    """Seconds of one convolution by itself, every way."""
    layers = {v: network(v, sizes.network).eval().get_submodule(case.name) for v in (PLAIN, OURS, ELEMENT, UNIT)}
    layers |= {UPSTREAM: UpstreamConv(layers[OURS]), CONDCONV: CondConv(layers[OURS])}
    inputs = torch.randn(sizes.training_batch, layers[OURS].in_channels, case.size, case.size, device=device())
    calls = {v: partial(answer, layers[v], inputs) for v in (PLAIN, UPSTREAM, CONDCONV, OURS, ELEMENT, UNIT)}
    return {"seconds": interleaved(calls, rounds, clock)}


def measure_memory(sizes: Sizes, variants: tuple[str, ...], rounds: int, clock: Clock) -> Measured:
    """Peak memory of inference, parameters and all, of each variant in a fresh process."""
    with tempfile.TemporaryDirectory() as folder:
        calls = {}
        for variant in variants:
            build(OURS if variant == UPSTREAM else variant, NETWORKS[sizes.network]).save_pretrained(
                f"{folder}/{variant}"
            )
            calls[variant] = partial(peak_of, f"{folder}/{variant}", variant == UPSTREAM, sizes)
        return each_in_fresh_process(calls, rounds)


def peak_of(folder: str, as_upstream: bool, sizes: Sizes) -> dict[str, float]:
    """Bytes of a network loaded from a folder and two inferences, in this very process: call it in a fresh one."""
    before = reset_peak()
    model = AutoModelForImageClassification.from_pretrained(folder).to(device())
    if as_upstream:
        replace_dynamic(model, UpstreamConv)
    for _ in range(2):
        answer(model, images(sizes.network, sizes.training_batch))
    return {"peak bytes": peak() - before}
