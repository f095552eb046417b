import copy
import functools
from typing import Any

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from padnet_hf.errors import PADNetError
from padnet_hf.layers.dynamic_conv import PADDynamicConv2d
from padnet_hf.method.layer import pad_weights
from tests.layers.reference_conv import (
    FORMS,
    FORMS_AND_WAYS,
    SHAPES,
    WAYS,
    as_element_partition,
    assert_same,
    force,
    make_conv,
    make_inputs,
    reference_conv,
    run,
)


@functools.cache
def _expected(form: str, shape: str, attention: str = "softmax") -> dict[str, Tensor]:
    conv = make_conv(form, attention=attention, temperature=2.0, **SHAPES[shape])
    expected = run(conv, make_inputs(), lambda inputs: reference_conv(conv, inputs, **SHAPES[shape]))
    is_static = all(weight.is_static for weight in pad_weights(conv).values())
    assert all(tensor.any() != (is_static and name.startswith("attention")) for name, tensor in expected.items())
    return expected


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")  # the oracle's
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("form", "way"), FORMS_AND_WAYS)
def test_outputs_and_every_gradient_are_the_papers_formula(
    form: str, shape: str, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    conv = make_conv(form, temperature=2.0, **SHAPES[shape])
    force(way, monkeypatch, 8 * conv.weight.shape.numel())
    assert_same(run(conv, make_inputs()), _expected(form, shape))


@pytest.mark.parametrize("form", FORMS)
def test_sigmoid_attention_is_the_same_formula(form: str) -> None:
    conv = make_conv(form, attention="sigmoid", temperature=2.0, **SHAPES["3x3"])
    assert_same(run(conv, make_inputs()), _expected(form, "3x3", "sigmoid"))


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")  # the oracle's, if it is asked first
@pytest.mark.parametrize(("form", "way"), FORMS_AND_WAYS)
@pytest.mark.parametrize("shape", ["3x3", "1x1, stride", "groups", "depthwise", "same, even kernel"])
def test_channels_last_gives_the_same(form: str, shape: str, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    conv, inputs = make_conv(form, temperature=2.0, **SHAPES[shape]), make_inputs()
    force(way, monkeypatch, 8 * conv.weight.shape.numel())
    assert_same(run(conv, inputs.to(memory_format=torch.channels_last)), _expected(form, shape))


@pytest.mark.parametrize("form", ["fully dynamic", "element", "unit", "static"])
@pytest.mark.parametrize("way", [way for way in WAYS if way.startswith(("all", "one", "two"))])
def test_outputs_lie_in_memory_as_those_of_a_plain_convolution(
    form: str, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    conv, plain = make_conv(form, **SHAPES["no bias"]), nn.Conv2d(4, 8, **SHAPES["no bias"]).double()
    force(way, monkeypatch, 8 * conv.weight.shape.numel())
    for layout in (torch.contiguous_format, torch.channels_last):
        inputs = make_inputs().to(memory_format=layout)
        assert conv(inputs).stride() == plain(inputs).stride()


@pytest.mark.parametrize("form", ["fully dynamic", "element", "unit"])
@pytest.mark.parametrize("shape", ["3x3", "1x1"])
@pytest.mark.parametrize("way", ["as chosen", "all samples at once", "one sample after the other"])
def test_inputs_and_gradients_that_lie_apart_in_memory(
    form: str, shape: str, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    conv = make_conv(form, **SHAPES[shape])
    wide = make_inputs(channels=8, size=(6, 14))
    force(way, monkeypatch, 8 * conv.weight.shape.numel())

    def gradients(forward: Any, inputs: Tensor) -> dict[str, Tensor]:
        conv.zero_grad()
        inputs = inputs.detach().requires_grad_()
        outputs = forward(inputs)
        (outputs.sum() * 3).backward(retain_graph=True)  # the gradient of a sum is one number, expanded
        turned = outputs.transpose(2, 3)
        (turned * torch.linspace(-1, 2, turned.numel(), dtype=torch.float64).view(turned.shape)).sum().backward()
        return {name: p.grad.clone() for name, p in conv.named_parameters()} | {"inputs": inputs.grad}

    for inputs in (wide[:, ::2, :, ::2], wide[:, :4]):
        expected = gradients(lambda x: reference_conv(conv, x, **SHAPES[shape]), inputs)
        assert_same(gradients(conv, inputs), expected)
        assert_same(gradients(conv, inputs.contiguous()), expected)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("batch", [1, 2, 9])
def test_any_batch(form: str, batch: int) -> None:
    fields, inputs = SHAPES["stride"], make_inputs(batch)
    conv = make_conv(form, **fields)
    slow = copy.deepcopy(conv)
    assert_same(run(conv, inputs), run(slow, inputs, lambda x: reference_conv(slow, x, **fields)))


def test_an_empty_batch_gives_an_empty_batch() -> None:
    for form in FORMS:
        assert make_conv(form, kernel_size=3)(make_inputs(0)).shape == (0, 8, 4, 5)


@pytest.mark.parametrize("form", FORMS)
def test_samples_do_not_depend_on_their_batch(form: str) -> None:
    conv, inputs = make_conv(form, **SHAPES["3x3"]), make_inputs(5)
    with torch.no_grad():
        alone = torch.cat([conv(sample[None]) for sample in inputs])
        torch.testing.assert_close(conv(inputs), alone, rtol=0, atol=1e-12)


@pytest.mark.parametrize("form", FORMS)
def test_an_input_without_batch_gives_an_output_without_batch(form: str) -> None:
    conv, inputs = make_conv(form, **SHAPES["3x3"]), make_inputs(2)
    with torch.no_grad():
        torch.testing.assert_close(conv(inputs[1]), conv(inputs)[1], rtol=0, atol=1e-12)


@pytest.mark.parametrize("shape", ["3x3", "groups", "depthwise", "no bias", "same, even kernel"])
def test_a_unit_partition_is_the_element_partition_with_its_mask_expanded(shape: str) -> None:
    conv = make_conv("unit", **SHAPES[shape])
    element = copy.deepcopy(conv)
    as_element_partition(element)
    assert element.weight.granularity == "element"
    expected, actual = run(element, make_inputs()), run(conv, make_inputs())
    assert_same({name: value.view_as(expected[name]) for name, value in actual.items()}, expected)


@given(
    form=st.sampled_from(["fully dynamic", "element", "unit"]),
    way=st.sampled_from(list(WAYS)),
    batch=st.integers(1, 4),
    groups=st.integers(1, 3),
    per_group=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    num_kernels=st.integers(1, 4),
    kernel_size=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 2)),
    dilation=st.tuples(st.integers(1, 2), st.integers(1, 3)),
    padding=st.tuples(st.integers(0, 2), st.integers(0, 3)),
    size=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    bias=st.booleans(),
)
@settings(max_examples=60)
def test_any_shape(
    form: str,
    way: str,
    batch: int,
    groups: int,
    per_group: tuple[int, int],
    size: tuple[int, int],
    **fields: Any,
) -> None:
    walks = zip(size, fields["padding"], fields["dilation"], fields["kernel_size"], strict=True)
    assume(all(length + 2 * pad >= step * (width - 1) + 1 for length, pad, step, width in walks))
    channels, fields = groups * per_group[0], {"groups": groups, **fields}
    conv = make_conv(form, channels, groups * per_group[1], **fields)
    inputs = make_inputs(batch, channels, size)
    slow = copy.deepcopy(conv)
    expected = run(slow, inputs, lambda x: reference_conv(slow, x, **fields))
    with pytest.MonkeyPatch.context() as patch:
        force(way, patch, 8 * conv.weight.shape.numel())
        assert_same(run(conv, inputs), expected)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("shape", ["3x3", "1x1", "depthwise", "reflect"])
@pytest.mark.parametrize("way", ["as chosen", "one sample after the other", "two samples at once"])
def test_bfloat16_and_autocast_come_near_float32(
    form: str, shape: str, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    half = make_conv(form, dtype=torch.bfloat16, **SHAPES[shape])
    conv, inputs = copy.deepcopy(half).float(), make_inputs().to(torch.bfloat16)
    expected = run(copy.deepcopy(conv), inputs.float())
    force(way, monkeypatch, 2 * conv.weight.shape.numel())
    actual = run(half, inputs)
    assert {value.dtype for value in actual.values()} == {torch.bfloat16}
    assert_same(actual, expected, tolerance=0.1)

    def under_autocast(inputs: Tensor) -> Tensor:  # forward only, as torch recommends
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return conv(inputs)

    actual = run(conv, inputs.float(), under_autocast)
    assert {name for name, value in actual.items() if value.dtype == torch.bfloat16} == {"output"}
    assert_same(actual, expected, tolerance=0.1)


@pytest.mark.parametrize("frozen", ["weight", "bias", "attention", "inputs", "all but inputs"])
@pytest.mark.parametrize("form", ["fully dynamic", "element", "unit"])
def test_what_is_frozen_gets_no_gradient_and_the_rest_the_same(form: str, frozen: str) -> None:
    expected = run(make_conv(form, **SHAPES["3x3"]), make_inputs())
    conv, inputs = make_conv(form, **SHAPES["3x3"]), make_inputs().requires_grad_(frozen != "inputs")
    for name, parameter in conv.named_parameters():
        parameter.requires_grad_(not name.startswith(frozen) and frozen != "all but inputs")
    output = conv(inputs)
    probe = torch.randn(output.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    (output * probe).sum().backward()
    for name, leaf in (*conv.named_parameters(), ("inputs", inputs)):
        if leaf.requires_grad:
            torch.testing.assert_close(leaf.grad, expected[name])
        else:
            assert leaf.grad is None


def test_a_new_layer_has_different_kernels_and_gives_them_different_gradients() -> None:
    torch.manual_seed(0)
    conv = PADDynamicConv2d(8, 6, 3)
    plain = nn.Conv2d(8, 6, 3)
    bound = plain.weight.abs().max()
    for weight in pad_weights(conv).values():
        assert weight.is_fully_dynamic
        assert len({tuple(values.flatten().tolist()) for values in weight.dynamic}) == 4
        assert weight.dynamic.abs().max() < 1.1 * bound
    conv(torch.randn(2, 8, 5, 5)).square().sum().backward()
    assert all(not torch.equal(conv.weight.dynamic.grad[0], gradient) for gradient in conv.weight.dynamic.grad[1:])
    assert all(p.grad.any() for p in conv.parameters())


def test_one_kernel_is_a_plain_convolution() -> None:
    conv, plain = PADDynamicConv2d(4, 6, 3, 2, 1, num_kernels=1), nn.Conv2d(4, 6, 3, 2, 1)
    with torch.no_grad():
        plain.weight.copy_(conv.weight.dynamic[0])
        plain.bias.copy_(conv.bias.dynamic[0])
    inputs = torch.randn(2, 4, 9, 9)
    torch.testing.assert_close(conv(inputs), plain(inputs))


def test_device_and_dtype_are_taken() -> None:
    conv = PADDynamicConv2d(4, 4, 3, device="meta", dtype=torch.bfloat16)
    assert {(p.device.type, p.dtype) for p in conv.parameters()} == {("meta", torch.bfloat16)}


def test_multiply_adds_by_hand() -> None:
    conv = make_conv("unit", **SHAPES["3x3"])  # 4 -> 8 channels, 2 of them dynamic, 3 kernels
    inputs, kernel = make_inputs(), 8 * 4 * 9
    positions = conv(inputs)[0, 0].numel()
    expected = (positions * kernel, (positions + 3) * kernel, positions * kernel + 3 * 2 * 4 * 9)
    assert conv.multiply_adds(inputs) == expected


@pytest.mark.parametrize("fields", [{}, {"padding": "same", "dilation": 2}, {"stride": (2, 3), "padding": (2, 1)}])
@pytest.mark.parametrize("mode", ["zeros", "circular"])
def test_its_outline_has_the_shape_of_its_output(fields: dict[str, Any], mode: str) -> None:
    conv = PADDynamicConv2d(4, 8, (3, 2), padding_mode=mode, **fields)
    for inputs in (torch.randn(2, 4, 9, 11), torch.randn(4, 9, 11)):
        assert conv.outline(inputs).shape == conv(inputs).shape


@pytest.mark.parametrize(
    "fields",
    [
        {"kernel_size": 3},
        {"kernel_size": (1, 3), "stride": 2, "padding": (0, 1), "bias": False},
        {"kernel_size": 3, "padding": "same", "dilation": 2, "padding_mode": "reflect"},
        {"kernel_size": 3, "groups": 4, "padding": 1},
    ],
)
@pytest.mark.parametrize("attention", ["softmax", "sigmoid"])
def test_a_trained_convolution_keeps_its_outputs_and_its_attributes(fields: dict[str, Any], attention: str) -> None:
    plain = nn.Conv2d(4, 8, **fields).double().eval()
    conv = PADDynamicConv2d.from_conv2d(plain, num_kernels=4, attention=attention)
    inputs = torch.randn(3, 4, 9, 11, dtype=torch.float64)
    torch.testing.assert_close(conv(inputs), plain(inputs))
    names = ("stride", "padding", "dilation", "kernel_size", "groups", "in_channels", "out_channels", "padding_mode")
    assert all(getattr(conv, name) == getattr(plain, name) for name in names)
    assert not conv.training


def test_a_layer_computes_the_same_after_its_state_dict() -> None:
    conv, other = make_conv("element", **SHAPES["3x3"]), make_conv("fully dynamic", **SHAPES["3x3"])
    for weight, fresh in zip(pad_weights(conv).values(), pad_weights(other).values(), strict=True):
        fresh.make_room(weight.num_dynamic, "element")
    with torch.no_grad():
        other(make_inputs())  # works out positions from the placeholder mask
        other.load_state_dict(conv.state_dict())
        assert torch.equal(other(make_inputs()), conv(make_inputs()))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"num_kernels": 0}, "num_kernels is 0, but must be at least 1"),
        ({"num_kernels": -3}, "num_kernels is -3, but must be at least 1"),
        ({"reduction": 0}, "reduction is 0, but must be at least 1"),
        ({"groups": 0}, "groups is 0, but must be at least 1"),
        ({"groups": 3}, r"PADDynamicConv2d\(4, 8, 3.*groups=3.*is not possible: in_channels must be divisible"),
        ({"groups": 4, "out_channels": 6}, r"groups=4.*out_channels must be divisible"),
        ({"padding": "full"}, "padding='full'.*is not possible"),
        ({"padding": "same", "stride": 2}, "stride=2, padding='same'.*is not possible"),
        ({"padding_mode": "mirror"}, "padding_mode='mirror'.*is not possible"),
        ({"attention": "tanh"}, "attention is 'tanh', but must be one of"),
        ({"temperature": 0.0}, "temperature is 0.0, but must be above 0"),
        ({"temperature": -1.0}, "temperature is -1.0, but must be above 0"),
        ({"temperature": float("nan")}, "temperature is nan, but must be above 0"),
    ],
)
def test_a_value_that_is_not_possible_is_named(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(PADNetError, match=f"(?s){message}"):
        PADDynamicConv2d(**({"in_channels": 4, "out_channels": 8, "kernel_size": 3} | fields))


def test_a_reduction_by_more_than_the_channels_leaves_one() -> None:
    conv = PADDynamicConv2d(4, 8, 3, reduction=100)
    assert conv.attention.squeeze.out_features == 1
    assert conv(torch.randn(2, 4, 5, 5)).shape == (2, 8, 3, 3)


@pytest.mark.parametrize("shape", [(2, 3, 5, 5), (3, 5, 5), (4, 5), (1, 2, 4, 5, 5)])
def test_an_input_of_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(PADNetError, match=rf"shape \({shape[0]}, .* must be \(batch, 4, height, width\)"):
        PADDynamicConv2d(4, 8, 3)(torch.zeros(shape))
