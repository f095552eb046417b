import pytest
import torch
from torch import Tensor

from padnet_hf.errors import PADNetError
from padnet_hf.method import criteria
from padnet_hf.method.config import PartitionConfig
from padnet_hf.method.criteria import Scored, criterion_named, criterion_names, register_criterion
from padnet_hf.method.packing import mean_over_copies

OURS = ("snip", "fisher", "magnitude", "random")
"""Others may be registered by other tests."""
COPIES = torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(0))
GRADIENTS = torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(1))


def _score(name: str, copies: Tensor = COPIES, gradients: Tensor | None = GRADIENTS, seed: int = 0) -> Tensor:
    """A criterion's, with the mean as static value."""
    weight = Scored(copies, gradients, _generator(seed), lambda: mean_over_copies(copies))
    return criterion_named(name).score(weight)


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_snip_is_the_signed_sum_over_copies_of_value_times_gradient() -> None:
    score = _score("snip")
    expected = [[sum(COPIES[e, i, j] * GRADIENTS[e, i, j] for e in range(3)) for j in range(5)] for i in range(4)]
    torch.testing.assert_close(score, torch.tensor(expected))
    assert (score < 0).any()
    assert (score > 0).any()


def test_fisher_is_the_sum_over_copies_of_squared_gradient_times_squared_distance_from_the_static_value() -> None:
    static = [[sum(COPIES[e, i, j] for e in range(3)) / 3 for j in range(5)] for i in range(4)]
    expected = [
        [sum((GRADIENTS[e, i, j] * (COPIES[e, i, j] - static[i][j])) ** 2 for e in range(3)) for j in range(5)]
        for i in range(4)
    ]
    torch.testing.assert_close(_score("fisher"), torch.tensor(expected))
    equal = COPIES[:1].expand(3, 4, 5)
    assert not _score("fisher", equal).any()  # there is nothing to choose by


def test_magnitude_is_the_mean_over_copies_of_the_absolute_value() -> None:
    score = _score("magnitude", gradients=None)
    expected = [[sum(abs(COPIES[e, i, j]) for e in range(3)) / 3 for j in range(5)] for i in range(4)]
    torch.testing.assert_close(score, torch.tensor(expected))


def test_random_depends_on_the_seed_alone_and_not_on_global_state() -> None:
    before = torch.get_rng_state()
    first, again, other = (_score("random", gradients=None, seed=seed) for seed in (5, 5, 6))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), before)
    generator = _generator(5)
    drawn = [criterion_named("random").score(Scored(COPIES, None, generator, COPIES.mean)) for _ in range(2)]
    assert not torch.equal(*drawn)


@pytest.mark.parametrize("name", OURS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_every_criterion_scores_one_copy_in_float32(name: str, dtype: torch.dtype) -> None:
    score = _score(name, COPIES.to(dtype), GRADIENTS.to(dtype))
    assert score.dtype == torch.float32
    assert score.shape == (4, 5)


def test_of_the_package_s_own_those_that_look_at_gradients_ask_for_batches() -> None:
    assert set(OURS) <= set(criterion_names())
    assert {name for name in OURS if criterion_named(name).needs_gradients} == {"snip", "fisher"}


def test_a_taken_name_is_refused() -> None:
    with pytest.raises(PADNetError, match="'snip' exists already"):
        register_criterion("snip")(lambda weight: weight.copies[0])
    with pytest.raises(PADNetError, match=r"takes \(copies, gradients, generator\), but must take one argument"):
        register_criterion("earlier")(lambda copies, gradients, generator: copies[0])


def test_a_registered_name_becomes_a_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(criteria, "_CRITERIA", dict(criteria._CRITERIA))
    with pytest.raises(PADNetError, match="criterion is 'mine'"):
        PartitionConfig(criterion="mine")

    @register_criterion("mine", needs_gradients=False)
    def mine(weight: Scored) -> torch.Tensor:
        return weight.copies[0].float()

    assert PartitionConfig(criterion="mine").criterion == "mine"
    assert criterion_named("mine").score is mine
