"""All copies at once against one after the other, and in how many launches; on the CPU, where they can be compared."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from padnet_hf.method import packing
from padnet_hf.method.batched import is_batched
from padnet_hf.method.built import BUILT
from padnet_hf.method.conversion import partitioned_state
from padnet_hf.method.packing import merge, write_copies
from padnet_hf.method.weight import PADWeight

VIEWS = {
    "view",
    "expand",
    "slice",
    "select",
    "detach",
    "t",
    "transpose",
    "unsqueeze",
    "squeeze",
    "alias",
    "_unsafe_view",
}


class Launches(TorchDispatchMode):
    """Names of the operations that would run something on a device: all but views."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        if name not in VIEWS and not name.startswith(("empty", "new_empty", "promote_types")):
            self.names.append(name)
        return func(*args, **kwargs or {})


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """As off the CPU."""
    monkeypatch.setattr(packing, "is_batched", lambda device: True)


def packed_values(mask: Tensor, num_copies: int = 3, dtype: torch.dtype = torch.float32) -> tuple[Tensor, ...]:
    """Leaves, then positions as a PADWeight keeps them."""
    generator = torch.Generator().manual_seed(0)
    count = int(mask.sum())
    values = (
        torch.randn(num_copies, count, generator=generator),
        torch.randn(len(mask) - count, generator=generator),
        torch.tensor(1.3),
        torch.tensor(0.7),
    )
    positions = (mask.nonzero().squeeze(1).int(), (~mask).nonzero().squeeze(1).int())
    return (*(tensor.to(dtype).requires_grad_() for tensor in values), *positions)


def merged_slowly(mask: Tensor, dynamic: Tensor, static: Tensor, scale_dynamic: Tensor, scale_static: Tensor) -> Tensor:
    """Element by element, from the formula."""
    copies = []
    for values in dynamic:
        of_copy, shared = iter(values), iter(static)
        copies.append(torch.stack([scale_dynamic * next(of_copy) if d else scale_static * next(shared) for d in mask]))
    return torch.stack(copies)


MASKS = {
    "mixed": torch.rand(41, generator=torch.Generator().manual_seed(1)) < 0.4,
    "one dynamic": torch.arange(9) == 4,
    "none dynamic": torch.zeros(5, dtype=torch.bool),
    "all dynamic": torch.ones(5, dtype=torch.bool),
}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", MASKS)
def test_both_ways_give_the_formulas_values_and_gradients(
    name: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    mask, probe = MASKS[name], torch.randn(3, len(MASKS[name]), generator=torch.Generator().manual_seed(2)).to(dtype)
    leaves = packed_values(mask, dtype=torch.float64)[:4]
    rounded = [leaf.detach().to(dtype).double().requires_grad_() for leaf in leaves]
    expected = merged_slowly(mask, *rounded)
    wanted = torch.autograd.grad((expected * probe.double()).sum(), rounded, allow_unused=True)
    for at_once in (False, True):
        monkeypatch.setattr(packing, "is_batched", lambda device, at_once=at_once: at_once)
        values = packed_values(mask, dtype=dtype)
        merged = merge(*values)
        assert torch.equal(merged, expected.to(dtype))  # bit for bit: the product of two values, rounded once
        found = torch.autograd.grad(merged, values[:4], probe)
        tolerance = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 3e-2}[dtype]
        for one, other in zip(found, wanted, strict=True):
            assert one.dtype == dtype
            exact = torch.zeros_like(one).double() if other is None else other
            torch.testing.assert_close(one.double(), exact, rtol=tolerance, atol=tolerance)


def test_copies_go_into_memory_that_is_given(at_once: None) -> None:
    values = packed_values(MASKS["mixed"])
    memory = torch.full((3 * 41,), torch.nan)
    assert torch.equal(merge(*values, memory), merge(*values))
    assert torch.equal(memory.view(3, 41), merge(*values))


@pytest.mark.parametrize("chosen", [[0, 1, 2], [2], [0, 2]])
@torch.no_grad()
def test_chosen_copies_are_written_and_no_others(at_once: None, chosen: list[int]) -> None:
    values = packed_values(MASKS["mixed"])
    places = torch.full((3, 41), torch.nan)
    write_copies(places, chosen, *values)
    others = [copy for copy in range(3) if copy not in chosen]
    assert torch.equal(places[chosen], merge(*values)[chosen])
    assert places[others].isnan().all()


def make_weight(granularity: str, num_copies: int = 3) -> PADWeight:
    """A matrix with half of its elements, or of its rows, dynamic; phi not zero."""
    weight = PADWeight(num_copies, (8, 5), unit_dim=0)
    generator = torch.Generator().manual_seed(0)
    weight.become({"dynamic": torch.randn(num_copies, 8, 5, generator=generator)})
    total = weight.num_candidates(granularity)
    mask = torch.randperm(total, generator=generator) < total // 2
    weight.become(partitioned_state(weight, mask, granularity), granularity)
    torch.nn.init.constant_(weight.phi, 0.3)
    return weight


@pytest.mark.parametrize("granularity", ["element", "unit"])
@pytest.mark.parametrize("use", ["build", "mix"])
def test_a_weight_is_the_same_in_both_ways(granularity: str, use: str, monkeypatch: pytest.MonkeyPatch) -> None:
    shares = torch.rand(4, 3, generator=torch.Generator().manual_seed(1))
    results = []
    for at_once in (False, True):
        monkeypatch.setattr(packing, "is_batched", lambda device, at_once=at_once: at_once)
        weight = make_weight(granularity)
        built = weight.build() if use == "build" else weight.mix(shares)
        built.square().sum().backward()
        results.append([built, *(parameter.grad for parameter in weight.parameters())])
    assert torch.equal(results[0][0], results[1][0])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


def test_another_mask_gives_other_places(at_once: None) -> None:
    weight = make_weight("element")
    weight.build()
    mask = weight.mask().roll(1)
    weight.mask_bits.copy_(packing.pack_mask(mask))
    expected = merged_slowly(mask, *weight.packed()[:4]).view(3, 8, 5)
    assert torch.equal(weight.build(), expected)


@pytest.mark.parametrize("granularity", ["element", "unit"])
def test_launches_do_not_grow_with_the_number_of_copies(at_once: None, granularity: str) -> None:
    counted = []
    for num_copies in (2, 16):
        weight = make_weight(granularity, num_copies)
        weight.build()  # positions are worked out
        with Launches() as forward:
            built = weight.build()
        with Launches() as backward:
            built.backward(torch.ones_like(built))
        counted.append((forward.names, backward.names))
    assert counted[0] == counted[1]


def test_one_gather_builds_an_element_weight(at_once: None) -> None:
    *values, dynamic_index, static_index = packed_values(MASKS["mixed"], 16)
    merge(*values, dynamic_index, static_index)
    with Launches() as forward:
        merged = merge(*values, dynamic_index, static_index)
    assert forward.names == ["mul", "mul", "index_select"]
    with Launches() as backward:
        torch.autograd.grad(merged, values, torch.ones_like(merged))
    assert len(backward.names) <= 10


def test_one_build_keeps_all_copies_for_inference(at_once: None) -> None:
    names = []
    for num_copies in (2, 16):
        weight = make_weight("element", num_copies).eval()
        weight.keep_built(True)
        with torch.no_grad():
            expected = weight._build()
            with Launches() as launches:
                built = weight.build()
        assert torch.equal(built, expected)
        names.append(launches.names)
        BUILT.clear()
    assert names[0] == names[1]


@pytest.mark.parametrize(("name", "expected"), [("cpu", False), ("cuda", True), ("meta", True)])
def test_only_a_cpu_goes_copy_by_copy(name: str, expected: bool) -> None:
    assert is_batched(torch.device(name)) is expected
