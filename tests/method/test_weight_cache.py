"""The cache of built weights, and what must not disturb it."""

import copy
import gc
import pickle
from collections.abc import Callable, Iterator

import pytest
import torch
from torch.multiprocessing.reductions import StorageWeakRef

from padnet_hf.method.conversion import partitioned_state
from padnet_hf.method.packing import pack_mask
from padnet_hf.method.weight import PADWeight


@pytest.fixture(params=["element", "unit"])
def cached(request: pytest.FixtureRequest) -> Iterator[PADWeight]:
    """A partitioned weight that caches, with gradients off."""
    weight = PADWeight(3, (6, 8), unit_dim=0)
    generator = torch.Generator().manual_seed(0)
    weight.become({"dynamic": torch.randn(3, 6, 8, dtype=torch.float64, generator=generator)})
    mask = torch.rand(weight.num_candidates(request.param), generator=generator) < 0.5
    assert 0 < mask.sum() < len(mask)
    weight.become(partitioned_state(weight, mask, request.param), request.param)
    torch.nn.init.constant_(weight.phi, 0.2)
    weight.keep_built(True)
    with torch.no_grad():
        yield weight


def test_cache_gives_the_same_tensor_while_nothing_changes(cached: PADWeight) -> None:
    first = cached.build()
    assert cached.build() is first
    cached.keep_built(False)
    assert cached.build() is not first
    assert torch.equal(cached.build(), first)


def _optimiser_step(weight: PADWeight) -> None:
    optimizer = torch.optim.AdamW(weight.parameters(), lr=0.1)
    for parameter in weight.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()


def _step_of_phi_alone(weight: PADWeight) -> None:
    weight.phi -= 0.5


def _load_other_values(weight: PADWeight) -> None:
    weight.load_state_dict(
        {name: tensor + 1 if tensor.is_floating_point() else tensor for name, tensor in weight.state_dict().items()}
    )


def _load_other_mask(weight: PADWeight) -> None:
    mask = weight.mask().flip(0)
    assert not torch.equal(mask, weight.mask())
    weight.load_state_dict({**weight.state_dict(), "mask_bits": pack_mask(mask)})


def _become_another(weight: PADWeight) -> None:
    weight.become(
        {name: tensor.detach() * 2 for name, tensor in weight.state().items() if name != "mask_bits"}
        | {"mask_bits": weight.mask_bits}
    )


def _fused_step(weight: PADWeight) -> None:
    optimizer = torch.optim.AdamW(weight.parameters(), lr=0.1, fused=True)
    for parameter in weight.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()


def _through_data(weight: PADWeight) -> None:
    weight.dynamic.data.add_(1)
    weight.forget_built()


def _replace_parameter(weight: PADWeight) -> None:
    weight.static = torch.nn.Parameter(weight.static + 1)


def _cast(weight: PADWeight) -> None:
    weight.to(torch.float32)


@pytest.mark.parametrize(
    "change",
    [
        _optimiser_step,
        _fused_step,
        _through_data,
        _step_of_phi_alone,
        _load_other_values,
        _load_other_mask,
        _become_another,
        _replace_parameter,
        _cast,
    ],
)
def test_cache_follows_every_change(cached: PADWeight, change: Callable[[PADWeight], None]) -> None:
    before = cached.build()
    change(cached)
    after = cached.build()
    assert after is not before
    cached.keep_built(False)
    assert torch.equal(after, cached.build())
    assert after.dtype != before.dtype or not torch.equal(after, before)


def test_cache_is_not_used_with_gradients_on(cached: PADWeight) -> None:
    kept = cached.build()
    with torch.enable_grad():
        built = cached.build()
        assert built is not kept
        assert built.requires_grad
        built.sum().backward()
    assert cached.dynamic.grad is not None


@pytest.mark.parametrize("let_go", ["told to", "called with gradients on", "an optimizer's step", "deleted"])
def test_built_copies_are_let_go(cached: PADWeight, let_go: str) -> None:
    memory = StorageWeakRef(cached.build().untyped_storage())
    assert not memory.expired()
    if let_go == "told to":
        cached.keep_built(False)
    elif let_go == "called with gradients on":
        with torch.enable_grad():
            cached(lambda: None)
    elif let_go == "an optimizer's step":
        torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))]).step()
    else:
        cached.dynamic = None
        gc.collect()
    assert memory.expired()


def test_kept_copies_are_neither_copied_nor_pickled(cached: PADWeight) -> None:
    before = len(pickle.dumps(cached))
    cached.build()
    cached.positions()
    assert len(pickle.dumps(cached)) == before


def test_a_deep_copy_is_independent(cached: PADWeight) -> None:
    before = cached.build().clone()
    twin = copy.deepcopy(cached)
    assert torch.equal(twin.build(), before)
    twin.dynamic += 1
    assert not torch.equal(twin.build(), before)
    assert torch.equal(cached.build(), before)
