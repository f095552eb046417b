"""What layers launch off the CPU: as much for many experts or images as for few, and experts never wait for the device.

Counted on the CPU, with copies put together as elsewhere.
"""

import pytest
import torch

from padnet_hf.layers.dynamic_conv import PADDynamicConv2d
from padnet_hf.layers.feed_forward import PADFeedForward
from padnet_hf.method import packing
from padnet_hf.method.conversion import partitioned_state
from padnet_hf.method.layer import pad_weights
from tests.method.test_batched import Launches

WAITING = {"_local_scalar_dense", "nonzero", "item", "equal", "masked_select", "is_nonzero", "unique", "_unique2"}
"""Operations that wait for a device, because what they give is read by the host or decides a size."""


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """As off the CPU."""
    monkeypatch.setattr(packing, "is_batched", lambda device: True)


def make_layer(form: str, num_experts: int, gated: bool) -> PADFeedForward:
    """8 to 16 to 8 neurons, half dynamic if it is partitioned."""
    layer = PADFeedForward(
        8, 16, "gelu", num_experts=num_experts, gated=gated, bias=not gated, implementation="grouped_mm"
    )
    torch.manual_seed(0)
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    for weight in pad_weights(layer).values() if form != "fully dynamic" else ():
        total = weight.num_candidates(form)
        if form == "element" or weight.layout.unit_dim is not None:
            mask = torch.arange(total) % 2 == 0 if form == "element" else torch.arange(total) < total // 2
            weight.become(partitioned_state(weight, mask, form), form)
    return layer


def launches_of(layer: PADFeedForward) -> tuple[list[str], list[str], list[str]]:
    """Of inference, of a forward and of a backward pass, when all that is worked out once is there."""
    inputs = torch.randn(6, 8, requires_grad=True)
    with torch.no_grad():
        for _ in range(3):
            layer.eval()(inputs)
        with Launches() as inference:
            layer(inputs)
    layer.train()(inputs).sum().backward()
    with Launches() as forward:
        outputs = layer(inputs)
    with Launches() as backward:
        outputs.backward(torch.ones_like(outputs))
    return inference.names, forward.names, backward.names


def launches_of_convolution(form: str, images: int) -> tuple[list[str], list[str]]:
    """Of inference, and of a forward and backward pass, with kernels so small that a CPU computes as others do."""
    torch.manual_seed(0)
    layer = PADDynamicConv2d(8, 16, 3, padding=1, bias=False)
    if form != "fully dynamic":
        mask = torch.arange(layer.weight.num_candidates(form)) % 2 == 0
        layer.weight.become(partitioned_state(layer.weight, mask, form), form)
    inputs = torch.randn(images, 8, 12, 12, requires_grad=True)
    layer(inputs).sum().backward()  # what is worked out once
    with torch.no_grad(), Launches() as inference:
        layer(inputs)
    with Launches() as training:
        layer(inputs).sum().backward()
    return inference.names, training.names


@pytest.mark.parametrize("form", ["fully dynamic", "element", "unit"])
def test_launches_of_a_convolution_do_not_grow_with_the_number_of_images(form: str) -> None:
    assert launches_of_convolution(form, 3) == launches_of_convolution(form, 12)


def waits(names: list[str]) -> int:
    """How often the host waits for what a device gives."""
    return sum(name in WAITING for name in names)


@pytest.mark.parametrize("gated", [False, True], ids=["plain", "gated"])
@pytest.mark.parametrize("form", ["fully dynamic", "element", "unit"])
def test_launches_do_not_grow_with_the_number_of_experts_and_training_never_waits(form: str, gated: bool) -> None:
    few, many = (launches_of(make_layer(form, num_experts, gated)) for num_experts in (2, 16))
    assert few == many
    inference, forward, backward = many
    assert waits(forward) == waits(backward) == 0
    kept = sum(weight.phi is not None for weight in pad_weights(make_layer(form, 2, gated)).values())
    assert waits(inference) == (kept if form == "element" else 0)  # a look at each weight whose copies are kept


def test_a_wait_is_seen() -> None:
    with Launches() as launches:
        torch.ones(3).nonzero()
        torch.ones(1).item()
        torch.equal(torch.ones(3), torch.ones(3))
    assert waits(launches.names) == 3
