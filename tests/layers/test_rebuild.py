import copy
from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils.checkpoint import checkpoint

from padnet_hf.layers.rebuild import RebuiltInBackward
from padnet_hf.method.conversion import partitioned_state
from padnet_hf.method.weight import PADWeight

COPIES, ROWS, COLUMNS = 3, 8, 4


@pytest.fixture(params=["element", "unit"])
def weight(request: pytest.FixtureRequest) -> PADWeight:
    """Half dynamic, phi not zero."""
    weight = PADWeight(COPIES, (ROWS, COLUMNS), unit_dim=0)
    generator = torch.Generator().manual_seed(0)
    weight.become({"dynamic": torch.randn(COPIES, ROWS, COLUMNS, generator=generator)})
    mask = torch.arange(weight.num_candidates(request.param)) % 2 == 0
    weight.become(partitioned_state(weight, mask, request.param), request.param)
    torch.nn.init.constant_(weight.phi, 0.3)
    return weight


@pytest.fixture
def inputs() -> Tensor:
    return torch.randn(5, COLUMNS, generator=torch.Generator().manual_seed(1)).requires_grad_()


def _forward(weight: PADWeight, inputs: Tensor, rebuild: bool, dtype: torch.dtype = torch.float32) -> Tensor:
    """A sum over copies of relu(W x), which saves views of the weight, inputs and outputs."""
    built = weight.build().to(dtype)
    with RebuiltInBackward([(built, weight)] if rebuild else []):
        return sum(F.relu(F.linear(inputs.to(dtype), copy)) for copy in built)


def _gradients(weight: PADWeight, inputs: Tensor, output: Tensor, *, retain: bool = False) -> tuple[Tensor, ...]:
    leaves = [inputs, *weight.parameters()]
    return torch.autograd.grad(output.float().square().sum(), leaves, retain_graph=retain)


def _all_equal(one: tuple[Tensor, ...], other: tuple[Tensor, ...]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gradients_are_the_same_to_the_bit(weight: PADWeight, inputs: Tensor, dtype: torch.dtype) -> None:
    kept, rebuilt = (_gradients(weight, inputs, _forward(weight, inputs, r, dtype)) for r in (False, True))
    assert _all_equal(kept, rebuilt)
    assert all(gradient.any() for gradient in rebuilt)


def test_backward_may_run_several_times_whole_or_in_part(weight: PADWeight, inputs: Tensor) -> None:
    expected = _gradients(weight, inputs, _forward(weight, inputs, False))
    output = _forward(weight, inputs, True)
    assert _all_equal(_gradients(weight, inputs, output, retain=True), expected)
    for leaf in (inputs, weight.static, inputs):  # in part: not every saved view is asked for
        torch.autograd.grad(output.square().sum(), leaf, retain_graph=True)
    assert _all_equal(_gradients(weight, inputs, output, retain=True), expected)
    assert _all_equal(_gradients(weight, inputs, output), expected)


def test_memory_that_served_another_weight_meanwhile_is_filled_again(weight: PADWeight, inputs: Tensor) -> None:
    other = copy.deepcopy(weight)
    torch.nn.init.ones_(other.dynamic)
    outputs = {}
    for one in (weight, other):
        built = one.build()
        with RebuiltInBackward([(built, one)]):
            outputs[one] = [F.linear(inputs, matrix) for matrix in built]
    for number in range(COPIES):  # in turns: each asks for one of its copies only
        for one in (weight, other):
            (gradient,) = torch.autograd.grad(outputs[one][number].sum(), inputs, retain_graph=True)
            assert torch.equal(gradient, one.build()[number].sum(dim=0).expand_as(inputs)), (number, one)


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[StorageWeakRef]]:
    """References to the memory of everything that PADWeights build during a test, each time in fresh memory."""
    references: list[StorageWeakRef] = []
    build = PADWeight._build

    def recorded(weight: PADWeight, scratch_for: str | None = None) -> Tensor:
        dense = build(weight)
        references.append(StorageWeakRef(dense.untyped_storage()))
        return dense

    monkeypatch.setattr(PADWeight, "_build", recorded)
    return references


def _num_alive(references: list[StorageWeakRef]) -> int:
    return sum(not reference.expired() for reference in references)


def test_nothing_built_outlives_forward_or_backward(
    weight: PADWeight, inputs: Tensor, built: list[StorageWeakRef]
) -> None:
    kept = _forward(weight, inputs, False)
    assert _num_alive(built) == 1  # what the test is able to see
    del kept
    assert _num_alive(built) == 0
    output = _forward(weight, inputs, True)
    assert _num_alive(built) == 0
    _gradients(weight, inputs, output, retain=True)
    assert len(built) == 3
    assert _num_alive(built) == 0
    _gradients(weight, inputs, output)
    assert len(built) == 4
    assert _num_alive(built) == 0


def test_the_cache_of_built_weights_stays_out_of_training(
    weight: PADWeight, inputs: Tensor, built: list[StorageWeakRef]
) -> None:
    weight.keep_built(True)
    _gradients(weight, inputs, _forward(weight, inputs, True))
    assert len(built) == 2
    assert _num_alive(built) == 0


def test_a_graph_dropped_without_backward_is_freed(weight: PADWeight, inputs: Tensor) -> None:
    references: list[StorageWeakRef] = []

    def relu(values: Tensor) -> Tensor:
        result = F.relu(values)  # saves its own result, which a careless hook would tie to itself
        references.append(StorageWeakRef(result.untyped_storage()))
        return result

    dense = weight.build()
    with RebuiltInBackward([(dense, weight)]):
        output = sum(relu(F.linear(inputs, copy)) for copy in dense)
    assert _num_alive(references) == COPIES
    del output
    assert _num_alive(references) == 0


def test_checkpointing_around_gives_the_same_gradients(
    weight: PADWeight, inputs: Tensor, built: list[StorageWeakRef]
) -> None:
    expected = _gradients(weight, inputs, _forward(weight, inputs, False))
    output = checkpoint(lambda values: _forward(weight, values, True), inputs, use_reentrant=False)
    assert _num_alive(built) == 0
    assert _all_equal(_gradients(weight, inputs, output), expected)
    assert _num_alive(built) == 0


@pytest.mark.parametrize("name", ["dynamic", "static"])
def test_changing_a_parameter_before_the_backward_pass_is_noticed(weight: PADWeight, inputs: Tensor, name: str) -> None:
    output = _forward(weight, inputs, True)
    with torch.no_grad():
        weight.get_parameter(name).add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        _gradients(weight, inputs, output)
