import torch

from padnet_hf.method.candidates import Candidates, candidates
from padnet_hf.method.config import PartitionConfig
from padnet_hf.method.layer import mask_groups
from padnet_hf.method.layout import Granularity
from padnet_hf.method.packing import unpack_mask
from tests.method.toy import ToyModel


def _candidates(granularity: Granularity) -> Candidates:
    return candidates(mask_groups(ToyModel(), granularity), PartitionConfig(granularity=granularity))


def test_at_first_every_candidate_is_dynamic() -> None:
    for granularity in ("element", "unit"):
        remaining = _candidates(granularity)
        assert all(bool(remaining.mask_of(weight).all()) for weight in remaining.weights)


def test_static_elements_need_no_score() -> None:
    remaining = _candidates("element")
    scores = [torch.arange(1.0, weight.shape.numel() + 1) for weight in remaining.weights]
    remaining.select(scores, 0.25)
    weight = remaining.weights[0]
    places = torch.arange(weight.shape.numel()).view(weight.shape)
    dynamic = remaining.mask_of(weight)
    assert torch.equal(remaining.reduced(weight, places.float()), places.flatten()[dynamic].float())
    assert 0 < int(dynamic.sum()) < dynamic.numel()


def test_an_element_that_became_static_never_becomes_dynamic_again() -> None:
    remaining = _candidates("element")
    generator = torch.Generator().manual_seed(0)
    before = [remaining.mask_of(weight) for weight in remaining.weights]
    for share in (0.7, 0.4, 0.1):
        contributions = [torch.randn(weight.shape, generator=generator) for weight in remaining.weights]
        remaining.select(
            [remaining.reduced(*pair) for pair in zip(remaining.weights, contributions, strict=True)], share
        )
        after = [remaining.mask_of(weight) for weight in remaining.weights]
        assert not any(bool((now & ~then).any()) for now, then in zip(after, before, strict=True))
        total = sum(mask.numel() for mask in after)
        assert sum(int(mask.sum()) for mask in after) == round(share * total)
        before = after


def test_the_contributions_of_a_unit_are_summed_before_their_magnitude_is_taken() -> None:
    remaining = _candidates("unit")
    contributions = [torch.zeros(weight.shape) for weight in remaining.weights]
    up, bias = contributions[:2]
    up[:, 0], bias[:] = 1.0, -1.0  # cancel each other, but in the units 8 to 15
    bias[8:16] = 1.0
    remaining.select([remaining.reduced(*pair) for pair in zip(remaining.weights, contributions, strict=True)], 0.1)
    first = unpack_mask(remaining.masks[0], len(bias))
    assert first.nonzero().flatten().tolist() == list(range(8, 16))
    assert all(torch.equal(remaining.mask_of(weight), first) for weight in remaining.weights[:2])
