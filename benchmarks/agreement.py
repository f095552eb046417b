"""Whether a device computes what the CPU does: logits, every gradient and IMP's masks of small models, in float32.

Layers of experts are checked in bfloat16 too, since devices have other kernels for that: against the CPU's float32.

A model is built on the CPU with copies that differ, and copied to the device. Deviations are relative to the largest
value of a tensor, of gradients that are next to nothing in a model (an attention's key bias has none but rounding) to
a thousandth of the model's largest; of masks, the share of candidates that are dynamic in one and static in the other.
"""

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from math import inf, isnan
from types import SimpleNamespace

import torch
from torch import Tensor, nn

from benchmarks.comparison import DEVIATION, Job, Measured
from benchmarks.convolutions import SMALL
from benchmarks.device import Clock, device
from benchmarks.experts import routing
from benchmarks.layers import LayerSizes, partition_at_random
from padnet_hf import (
    PADBertConfig,
    PADBertForSequenceClassification,
    PADLlamaConfig,
    PADLlamaForCausalLM,
    PADResNetForImageClassification,
    PartitionConfig,
    partition,
)
from padnet_hf.method.imp import choose_masks
from padnet_hf.method.layer import mask_groups, pad_weights
from padnet_hf.method.layout import Granularity
from padnet_hf.method.packing import unpack_mask
from padnet_hf.method.scoring import Batch

PART = "agreement with the CPU"
LOGITS, GRADIENTS, MASKS = "logits", "gradients", "masks"
LIMITS = {LOGITS: 5e-4, GRADIENTS: 5e-3, MASKS: 1e-2}
"""What deviations may be at most: some hundred times what float32 is away from float64 here, where a wrong term makes
a tenth and more. Scores that are nearly level at the threshold may fall either way, so masks may differ a little."""

LIMITS_OF_HALVES = {LOGITS: 5e-2, GRADIENTS: 0.15}
"""The same in bfloat16, whose numbers are 0.4 % apart; gradients of scale factors, sums over a whole weight, are off by
5 % for that alone."""

LAYER = "layer of experts"
SHAPE = {"num_hidden_layers": 2, "hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 4}
FORMS: tuple[Granularity | None, ...] = (None, "element", "unit")
Outcome = tuple[Tensor, Mapping[str, Tensor]]
"""Logits, and gradients by name."""

_LEAST = torch.finfo(torch.float32).eps


def _tokens(are_labels: bool) -> Batch:
    """Texts of random tokens, with themselves as labels or with one of two classes."""
    ids = torch.randint(100, (3, 24))
    return {"input_ids": ids, "labels": ids if are_labels else ids[:, 0] % 2}


def gated_experts() -> tuple[nn.Module, Batch]:
    """A language model of gated experts."""
    config = PADLlamaConfig(**SHAPE, num_key_value_heads=2, vocab_size=100, num_experts=4, router_init_std=0.2)
    return PADLlamaForCausalLM(config), _tokens(are_labels=True)


def plain_experts() -> tuple[nn.Module, Batch]:
    """A classifier of plain experts."""
    config = PADBertConfig(**SHAPE, vocab_size=100, num_experts=4, router_init_std=0.2)
    return PADBertForSequenceClassification(config), _tokens(are_labels=False)


def convolutions() -> tuple[nn.Module, Batch]:
    """A small ResNet of dynamic convolutions."""
    images = torch.randn(4, 3, SMALL.image_size, SMALL.image_size)
    return PADResNetForImageClassification(copy.deepcopy(SMALL)), {"pixel_values": images, "labels": torch.arange(4)}


MODELS: dict[str, Callable[[], tuple[nn.Module, Batch]]] = {
    "gated experts": gated_experts,
    "plain experts": plain_experts,
    "dynamic convolution": convolutions,
}


def jobs() -> Iterator[Job]:
    """Every model in every form."""
    for model in (*MODELS, LAYER):
        for form in FORMS:
            dtype = "bfloat16" if model == LAYER else "float32"
            case = {"model": model, "form": form or "fully dynamic", "dtype": dtype}
            yield Job(PART, case, partial(measure, model, form), 1, (LOGITS,))


def on_device(model: nn.Module) -> nn.Module:
    """A copy of it there."""
    return copy.deepcopy(model).to(device())


def measure(
    name: str,
    form: Granularity | None,
    rounds: int,
    clock: Clock,
    copied: Callable[[nn.Module], nn.Module] = on_device,
) -> Measured:
    """The largest deviations of a model from itself on the device, none below float32's epsilon.

    Exits with an error if one is beyond its limit: what is measured then would not be this package's computation.
    """
    limits = LIMITS_OF_HALVES if name == LAYER else LIMITS
    with _exact_products():
        found = deviations_in_halves(form, copied) if name == LAYER else deviations(name, form, copied)
    beyond = {what: value for what, value in found.items() if value > limits[what]}
    if beyond:
        told = ", ".join(f"{what} by {value:.1e} (limit {limits[what]:.0e})" for what, value in beyond.items())
        raise SystemExit(
            f"error: on {device()} a model of {name}, {form or 'fully dynamic'}, does not agree with itself on the "
            f"CPU: {told}. Nothing is measured as long as it does not."
        )
    return {DEVIATION: {what: [max(value, _LEAST)] * rounds for what, value in found.items()}}


def deviations(name: str, form: Granularity | None, copied: Callable[[nn.Module], nn.Module]) -> dict[str, float]:
    """Largest deviations: of IMP's masks if there is a form to partition to, then of logits and gradients in it."""
    torch.manual_seed(0)
    model, batch = MODELS[name]()
    model.eval()
    for weight in pad_weights(model).values():
        nn.init.normal_(weight.dynamic, std=weight.shape.numel() ** -0.25 / 2)
    found = {}
    if form:
        config = PartitionConfig(granularity=form, criterion="snip", static_values="mean", num_batches=1, num_rounds=2)
        one, other = (masks_of(each, batch, config) for each in (model, copied(model)))
        found[MASKS] = (one != other).float().mean().item()
        partition(model, [batch], config, progress=False)
        for weight in pad_weights(model).values():
            if weight.phi is not None:
                nn.init.constant_(weight.phi, 0.3)
    return found | _apart(outcome(copied(model), batch), outcome(model, batch))


def deviations_in_halves(form: Granularity | None, copied: Callable[[nn.Module], nn.Module]) -> dict[str, float]:
    """Largest deviations of a layer in bfloat16, partitioned at random, from its own values in float32 on the CPU.

    Its routing is given: a router in bfloat16 sends some tokens elsewhere.
    """
    torch.manual_seed(0)
    sizes = LayerSizes(64, 128, num_experts=4)
    experts = sizes.experts()
    if form:
        partition_at_random(experts, form, 0.5)
    for parameter in experts.parameters():
        nn.init.normal_(parameter, std=0.2)
    experts = experts.to(torch.bfloat16)
    hidden, (index, gates) = torch.randn(96, 64, dtype=torch.bfloat16), routing(96, sizes)
    batch = {"hidden": hidden, "index": index, "weights": gates.to(torch.bfloat16)}
    exact = {name: t.float() if t.is_floating_point() else t for name, t in batch.items()}
    return _apart(outcome(_Judged(copied(experts)), batch), outcome(_Judged(copy.deepcopy(experts).float()), exact))


class _Judged(nn.Module):
    """A layer with a loss of its outputs."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, **inputs: Tensor) -> SimpleNamespace:
        outputs = self.layer(**inputs)
        return SimpleNamespace(logits=outputs, loss=outputs.float().square().mean())


def masks_of(model: nn.Module, batch: Batch, config: PartitionConfig) -> Tensor:
    """Which candidates IMP would leave dynamic, all masks one after the other, on the CPU; the model stays as it is."""
    groups = mask_groups(model, config.granularity)
    masks = choose_masks(model, groups, [_to(batch, model)], config, progress=False)
    counts = (group.weights[0].num_candidates(config.granularity) for group in groups)
    return torch.cat([unpack_mask(bits, count).cpu() for bits, count in zip(masks, counts, strict=True)])


def outcome(model: nn.Module, batch: Batch) -> Outcome:
    """Logits and the gradients of the loss in all parameters that have one, on the CPU."""
    output = model(**_to(batch, model))
    output.loss.backward()
    gradients = {name: p.grad.cpu() for name, p in model.named_parameters() if p.grad is not None}
    return output.logits.detach().cpu(), gradients


def _to(batch: Batch, model: nn.Module) -> Batch:
    where = next(model.parameters()).device
    return {name: tensor.to(where) for name, tensor in batch.items()}


def _apart(found: Outcome, expected: Outcome) -> dict[str, float]:
    """Deviations of logits and gradients; infinite where a gradient is missing, or there is one too many."""
    (logits, gradients), (right_logits, right) = found, expected
    least = max(gradient.abs().max().item() for gradient in right.values()) / 1000
    pairs = [(gradients.get(name), right.get(name)) for name in right.keys() | gradients.keys()]
    worst = max(inf if one is None or other is None else _deviation(one, other, least) for one, other in pairs)
    return {LOGITS: _deviation(logits, right_logits), GRADIENTS: worst}


def _deviation(found: Tensor, expected: Tensor, least: float = 0.0) -> float:
    """The largest difference, relative to the largest value, or to `least` if that is larger; infinite if undefined."""
    relative = (found - expected).abs().max().item() / max(expected.abs().max().item(), least)
    return inf if isnan(relative) else relative


@contextmanager
def _exact_products() -> Iterator[None]:
    """Products in float32, not in TF32's 10 bits, where a device has that."""
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32
    matmul.allow_tf32 = cudnn.allow_tf32 = False
    try:
        yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32 = before
