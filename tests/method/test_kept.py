"""What is kept beside modules: made once, made again after a change, gone with its tensor."""

import gc
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from padnet_hf.method.kept import Kept


def _in_place(tensor: Tensor) -> Tensor:
    return tensor.add_(1)


def _other_memory(tensor: Tensor) -> Tensor:
    tensor.data = tensor.data.clone()
    return tensor


@pytest.mark.parametrize("change", [_in_place, _other_memory, Tensor.clone])
def test_a_value_is_made_once_and_again_after_a_change(change: Callable[[Tensor], Tensor]) -> None:
    kept, tensor = Kept(), torch.zeros(2)
    first = kept.get((tensor,), lambda: [0])
    assert kept.get((tensor,), lambda: [1]) is first
    assert kept.get((change(tensor),), lambda: [2]) == [2]


def test_a_change_of_any_tensor_counts() -> None:
    kept, first, second = Kept(), torch.zeros(2), torch.zeros(2)
    kept.get((first, second), lambda: 0)
    second += 1
    assert kept.get((first, second), lambda: 1) == 1


def test_a_value_goes_with_its_tensor_or_when_told() -> None:
    kept, tensor, other = Kept(), torch.zeros(2), torch.zeros(2)
    kept.get((tensor,), lambda: 0)
    kept.get((other,), lambda: 1)
    del tensor
    gc.collect()
    assert len(kept) == 1
    kept.forget(other)
    kept.forget(other)
    assert len(kept) == 0


def test_what_is_made_in_inference_mode_can_be_trained_with() -> None:
    kept, tensor = Kept(), torch.zeros(2)
    with torch.inference_mode():
        assert not kept.get((tensor,), lambda: torch.ones(2)).is_inference()
        torch.zeros(2)
        inside = torch.zeros(2)
        kept.get((inside,), lambda: 0)
    assert kept.get((inside,), lambda: 1) == 0


def test_what_is_made_has_no_graph() -> None:
    kept, tensor = Kept(), torch.zeros(2, requires_grad=True)
    assert not kept.get((tensor,), lambda: tensor * 2).requires_grad
