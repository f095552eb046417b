import pytest
import torch

from padnet_hf.errors import PADNetError
from padnet_hf.method import criteria
from padnet_hf.method.config import PartitionConfig
from padnet_hf.method.criteria import criterion_named, criterion_names, register_criterion

OURS = ("snip", "magnitude", "random")
"""Others may be registered by other tests."""
COPIES = torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(0))
GRADIENTS = torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(1))


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_snip_is_the_signed_sum_over_copies_of_value_times_gradient() -> None:
    score = criterion_named("snip").score(COPIES, GRADIENTS, _generator())
    expected = [[sum(COPIES[e, i, j] * GRADIENTS[e, i, j] for e in range(3)) for j in range(5)] for i in range(4)]
    torch.testing.assert_close(score, torch.tensor(expected))
    assert (score < 0).any()
    assert (score > 0).any()


def test_magnitude_is_the_mean_over_copies_of_the_absolute_value() -> None:
    score = criterion_named("magnitude").score(COPIES, None, _generator())
    expected = [[sum(abs(COPIES[e, i, j]) for e in range(3)) / 3 for j in range(5)] for i in range(4)]
    torch.testing.assert_close(score, torch.tensor(expected))


def test_random_depends_on_the_seed_alone_and_not_on_global_state() -> None:
    score = criterion_named("random").score
    before = torch.get_rng_state()
    first, again, other = (score(COPIES, None, _generator(seed)) for seed in (5, 5, 6))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), before)
    generator = _generator(5)
    drawn = [score(COPIES, None, generator) for _ in range(2)]
    assert not torch.equal(*drawn)


@pytest.mark.parametrize("name", OURS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_every_criterion_scores_one_copy_in_float32(name: str, dtype: torch.dtype) -> None:
    score = criterion_named(name).score(COPIES.to(dtype), GRADIENTS.to(dtype), _generator())
    assert score.dtype == torch.float32
    assert score.shape == (4, 5)


def test_of_the_package_s_own_only_snip_asks_for_batches() -> None:
    assert set(OURS) <= set(criterion_names())
    assert {name for name in OURS if criterion_named(name).needs_gradients} == {"snip"}


def test_a_taken_name_is_refused() -> None:
    with pytest.raises(PADNetError, match="'snip' exists already"):
        register_criterion("snip")(lambda copies, gradients, generator: copies[0])


def test_a_registered_name_becomes_a_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(criteria, "_CRITERIA", dict(criteria._CRITERIA))
    with pytest.raises(PADNetError, match="criterion is 'mine'"):
        PartitionConfig(criterion="mine")

    @register_criterion("mine", needs_gradients=False)
    def mine(copies: torch.Tensor, gradients: torch.Tensor | None, generator: torch.Generator) -> torch.Tensor:
        return copies[0].float()

    assert PartitionConfig(criterion="mine").criterion == "mine"
    assert criterion_named("mine").score is mine
