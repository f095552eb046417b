import pytest
import torch

from benchmarks.experts import routing
from benchmarks.layers import LayerSizes, dynamic_count, partition_at_random, randomize, use_transformers_code


@pytest.mark.parametrize("implementation", ["eager", "grouped_mm"])
def test_the_baseline_computes_what_our_fully_dynamic_experts_do(implementation: str) -> None:
    torch.manual_seed(0)
    sizes = LayerSizes(16, 32, num_experts=4, implementation=implementation)
    theirs, ours = use_transformers_code(sizes.experts()), sizes.experts()
    randomize(theirs)
    ours.load_state_dict(theirs.state_dict())
    hidden, (index, weights) = torch.randn(9, 16), routing(9, sizes)
    torch.testing.assert_close(theirs(hidden, index, weights), ours(hidden, index, weights))


@pytest.mark.parametrize(("granularity", "stored"), [("element", (4 * 0.25 + 0.75)), ("unit", (4 * 0.25 + 0.75))])
def test_a_random_partition_stores_its_share(granularity: str, stored: float) -> None:
    experts = LayerSizes(16, 32, num_experts=4).experts()
    partition_at_random(experts, granularity, 0.25)
    weight = experts.up_proj
    assert sum(tensor.numel() for tensor in (weight.dynamic, weight.static)) == stored * 16 * 32
    assert int(weight.mask().sum()) == weight.num_dynamic


@pytest.mark.parametrize(("granularity", "expected"), [("element", 922), ("unit", 920)])
def test_units_are_dynamic_in_whole_blocks(granularity: str, expected: int) -> None:
    assert dynamic_count(3072, granularity, 0.3) == expected
    assert dynamic_count(1, granularity, 0.3) == 1
