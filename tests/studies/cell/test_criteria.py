import pytest
import torch
from torch import Tensor

from padnet_hf.method.criteria import Scored, criterion_named
from studies.cell.criteria import disagreement

COPIES = torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(0))
GRADIENTS = torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(1))


def scored(copies: Tensor, gradients: Tensor) -> Scored:
    return Scored(copies, gradients, torch.Generator(), lambda: copies.mean(dim=0))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_disagreement_is_the_squared_distance_of_gradients_from_their_mean(dtype: torch.dtype) -> None:
    gradients = GRADIENTS.to(dtype)
    score = disagreement(scored(COPIES.to(dtype), gradients))
    g = gradients.double()
    expected = [
        [sum((g[e, i, j] - sum(g[:, i, j]) / 3) ** 2 for e in range(3)).item() for j in range(5)] for i in range(4)
    ]
    torch.testing.assert_close(score, torch.tensor(expected))
    assert score.dtype == torch.float32


def test_disagreement_is_what_a_step_of_shared_copies_loses_of_a_step_of_free_ones() -> None:
    step = 0.1
    free, shared = -step * GRADIENTS, -step * GRADIENTS.mean(dim=0).expand_as(GRADIENTS)
    lost = -(GRADIENTS * free).sum(dim=0) + (GRADIENTS * shared).sum(dim=0)
    torch.testing.assert_close(lost, step * disagreement(scored(COPIES, GRADIENTS)))


def test_one_copy_and_copies_of_one_mind_disagree_in_nothing() -> None:
    assert not disagreement(scored(COPIES[:1], GRADIENTS[:1])).any()
    same = torch.ones(3, 4, 5)
    assert disagreement(scored(COPIES, same)).max() < 1e-12


def test_of_equal_copies_snip_sees_only_the_sum_of_their_gradients() -> None:
    equal = COPIES[:1].expand(3, 4, 5)
    torch.testing.assert_close(
        criterion_named("snip").score(scored(equal, GRADIENTS)), COPIES[0] * GRADIENTS.sum(dim=0)
    )


def test_a_partition_can_name_it() -> None:
    assert criterion_named("disagreement").score is disagreement
    assert criterion_named("disagreement").needs_gradients
