import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from padnet_hf.layers.dynamic_conv import PADDynamicConv2d
from padnet_hf.layers.mixed_conv import mix_outputs, mixed_conv2d
from padnet_hf.layers.sample_conv import Geometry
from padnet_hf.method.packing import Packed
from tests.layers.reference_conv import WAYS, force, make_conv, make_inputs

SHAPE = torch.Size((6, 4, 3, 3))
GEOMETRY = Geometry((1, 2), (1, 0), (2, 1), 1)
KERNEL_BYTES = 8 * SHAPE.numel()


def _leaves(batch: int = 5, num_kernels: int = 3) -> list[Tensor]:
    """inputs (B, C, height, width), shares (B, E), kernels (E, N)."""
    generator = torch.Generator().manual_seed(0)
    sizes = ((batch, 4, 7, 6), (batch, num_kernels), (num_kernels, SHAPE.numel()))
    return [torch.randn(size, generator=generator, dtype=torch.float64).requires_grad_() for size in sizes]


def _in_new_thread(work: Callable[[], None]) -> None:
    """Run it where no memory for mixed kernels exists yet."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(work).result()


def _slow(inputs: Tensor, shares: Tensor, kernels: Tensor) -> Tensor:
    mixed = [sum(share * kernel for share, kernel in zip(row, kernels, strict=True)).view(SHAPE) for row in shares]
    return torch.cat([F.conv2d(x[None], kernel, None, *GEOMETRY) for x, kernel in zip(inputs, mixed, strict=True)])


@pytest.mark.parametrize("way", WAYS)
def test_it_is_a_convolution_with_each_samples_mixed_kernel(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    force(way, monkeypatch, KERNEL_BYTES)
    inputs, shares, kernels = leaves = _leaves()
    actual = mixed_conv2d(inputs, shares, Packed(kernels), SHAPE, GEOMETRY)
    expected = _slow(inputs, shares, kernels)
    torch.testing.assert_close(actual, expected)
    probe = torch.randn_like(expected)
    for gradient, other in zip(
        torch.autograd.grad(actual, leaves, probe), torch.autograd.grad(expected, leaves, probe), strict=True
    ):
        torch.testing.assert_close(gradient, other)


def test_mixing_the_outputs_is_mixing_the_kernels() -> None:
    inputs, shares, kernels = _leaves()
    outputs = mix_outputs(inputs, shares, kernels.view(-1, *SHAPE), GEOMETRY)
    torch.testing.assert_close(outputs, _slow(inputs, shares, kernels))


@pytest.mark.parametrize("way", WAYS)
def test_gradients_pass_torchs_own_check(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    force(way, monkeypatch, KERNEL_BYTES)
    inputs, shares, kernels = _leaves(batch=3, num_kernels=2)
    shape, geometry = torch.Size((2, 1, 2, 2)), Geometry((1, 1), (1, 0), (1, 1), 2)
    arguments = (inputs[:, :2, :3, :3], shares, kernels[:, :8])
    leaves = [argument.detach().requires_grad_() for argument in arguments]
    assert torch.autograd.gradcheck(lambda x, s, k: mixed_conv2d(x, s, Packed(k), shape, geometry), leaves)


@pytest.mark.parametrize("way", WAYS)
def test_shares_of_another_precision_than_the_kernels(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    force(way, monkeypatch, KERNEL_BYTES // 4)
    inputs, shares, kernels = _leaves()
    expected = _slow(inputs, shares, kernels).detach()
    half = kernels.detach().to(torch.bfloat16).requires_grad_()
    shares = shares.detach().float().requires_grad_()
    outputs = mixed_conv2d(inputs.to(torch.bfloat16), shares, Packed(half), SHAPE, GEOMETRY)
    assert outputs.dtype == torch.bfloat16
    assert (outputs.double() - expected).abs().max() < 0.03 * expected.abs().max()
    outputs.sum().backward()
    assert (shares.grad.dtype, half.grad.dtype) == (torch.float32, torch.bfloat16)


def test_output_size_is_that_of_the_convolution() -> None:
    for geometry, kernel in ((GEOMETRY, (3, 3)), (Geometry((2, 3), (0, 2), (1, 2), 1), (2, 1))):
        outputs = F.conv2d(torch.zeros(1, 1, 9, 10), torch.zeros(1, 1, *kernel), None, *geometry)
        assert geometry.output_size(torch.Size((1, 1, 9, 10)), torch.Size(kernel)) == outputs.shape[2:]


FORMS = ("fully dynamic", "element", "unit")


@pytest.fixture
def kernels_are_mixed(monkeypatch: pytest.MonkeyPatch) -> None:
    force("all samples at once", monkeypatch, KERNEL_BYTES)


@pytest.mark.usefixtures("kernels_are_mixed")
@pytest.mark.parametrize("form", FORMS)
def test_inference_mode_before_and_after_training_changes_nothing(form: str) -> None:
    conv, few, many = make_conv(form, kernel_size=3), make_inputs(2), make_inputs(7)
    expected = conv(many).detach()

    def work() -> None:
        conv(few).sum().backward()
        with torch.inference_mode():  # needs more memory than there is
            assert torch.equal(conv(many), expected)
        conv(few).sum().backward()
        conv(make_inputs(9)).sum().backward()
        with torch.inference_mode():
            assert torch.equal(conv(many), expected)

    _in_new_thread(work)


@pytest.mark.usefixtures("kernels_are_mixed")
@pytest.mark.parametrize("form", FORMS)
def test_training_after_inference_mode(form: str) -> None:
    conv, inputs = make_conv(form, kernel_size=3), make_inputs(5)
    expected = torch.autograd.grad(conv(inputs).square().sum(), list(conv.parameters()))

    def work() -> None:
        with torch.inference_mode():
            conv(inputs)
        actual = torch.autograd.grad(conv(inputs).square().sum(), list(conv.parameters()))
        assert all(torch.equal(one, other) for one, other in zip(actual, expected, strict=True))

    _in_new_thread(work)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("way", ["all samples at once", "one sample after the other", "two samples at once"])
def test_two_threads_at_once_do_not_share_mixed_kernels(form: str, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither thread convolves before both have mixed."""
    conv, plain_conv2d = make_conv(form, kernel_size=3), F.conv2d
    force(way, monkeypatch, 8 * conv.weight.shape.numel())
    inputs = [make_inputs(4), make_inputs(4).flip(0) * 3]
    expected = [conv(samples).detach() for samples in inputs]
    barrier = threading.Barrier(2, timeout=20)

    def after_both_have_mixed(*arguments: object) -> Tensor:
        barrier.wait()
        return plain_conv2d(*arguments)

    monkeypatch.setattr(F, "conv2d", after_both_have_mixed)
    with ThreadPoolExecutor(2) as pool:
        actual = list(pool.map(lambda samples: conv(samples).detach(), inputs))
    for one, other in zip(actual, expected, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("form", FORMS)
def test_no_more_kernels_are_mixed_at_once_than_the_scratch_memory_holds(
    form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    conv, plain_conv2d, seen = make_conv(form, kernel_size=3), F.conv2d, []
    force("two samples at once", monkeypatch, 8 * conv.weight.shape.numel())

    def counting(inputs: Tensor, kernels: Tensor, *arguments: object) -> Tensor:
        seen.append(len(kernels) // 8)
        return plain_conv2d(inputs, kernels, *arguments)

    monkeypatch.setattr(F, "conv2d", counting)
    conv(make_inputs(5))
    assert seen == [2, 2, 1]


def test_no_more_channels_are_mixed_at_once_than_a_block_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    conv, plain_conv2d, seen = make_conv("fully dynamic", kernel_size=3), F.conv2d, []
    force("one sample after the other, three channels", monkeypatch, 8 * conv.weight.shape.numel())

    def counting(inputs: Tensor, kernels: Tensor, *arguments: object) -> Tensor:
        seen.append(len(kernels))
        return plain_conv2d(inputs, kernels, *arguments)

    monkeypatch.setattr(F, "conv2d", counting)
    conv(make_inputs(2))
    assert seen == [3, 3, 3, 3, 2, 2]


@pytest.mark.usefixtures("kernels_are_mixed")
def test_layers_of_different_size_and_type_do_not_disturb_each_other() -> None:
    generator = torch.Generator().manual_seed(0)
    large, small = make_conv("element", kernel_size=3, padding=1), make_conv("fully dynamic", kernel_size=1)
    half = make_conv("fully dynamic", kernel_size=3, dtype=torch.float32)
    inputs = torch.randn(3, 4, 6, 6, generator=generator, dtype=torch.float64)

    def outputs(convs: list[PADDynamicConv2d]) -> list[Tensor]:
        return [conv(inputs.to(conv.attention.score.weight.dtype)).detach() for conv in convs]

    expected = outputs([large]) + outputs([small]) + outputs([half])
    actual = outputs([large, small, half])
    assert all(torch.equal(one, other) for one, other in zip(actual, expected, strict=True))


@pytest.mark.usefixtures("kernels_are_mixed")
@pytest.mark.parametrize("form", FORMS)
def test_outputs_and_gradients_are_not_overwritten_by_the_next_call(form: str) -> None:
    conv = make_conv(form, kernel_size=3)
    inputs = make_inputs(3).requires_grad_()
    first = conv(inputs)
    (gradient,) = torch.autograd.grad(first.sum(), inputs, retain_graph=True)
    kept = first.detach().clone(), gradient.clone()
    other = make_inputs(3).neg().requires_grad_()
    torch.autograd.grad(conv(other).sum(), other)
    assert torch.equal(first, kept[0])
    assert torch.equal(gradient, kept[1])
    assert torch.equal(torch.autograd.grad(first.sum(), inputs)[0], kept[1])
