import numpy as np
import pytest

from studies.paired import difference


def test_the_interval_of_known_data() -> None:
    # Bootstrap means of {0, 2} are 0, 1, 2 with probabilities 1/4, 1/2, 1/4: the middle 95 % reach from 0 to 2.
    found = difference({"a": {1: 1.0, 2: 3.0}}, {"a": {1: 1.0, 2: 1.0}})
    assert found == (1.0, 0.0, 2.0, 2)
    same = difference({"a": {1: 2.0, 2: 3.0}}, {"a": {1: 1.0, 2: 2.0}})
    assert (same.mean, same.low, same.high) == (1, 1, 1)


def test_the_interval_of_normal_data_is_that_of_the_normal_distribution() -> None:
    generator = np.random.default_rng(1)
    ours = {"a": dict(enumerate(generator.normal(0.5, 1, 400)))}
    found = difference(ours, {"a": dict.fromkeys(range(400), 0.0)})
    half = 1.96 * np.std(list(ours["a"].values())) / 20
    assert found.low == pytest.approx(found.mean - half, abs=0.01)
    assert found.high == pytest.approx(found.mean + half, abs=0.01)


def test_tasks_count_alike_and_only_shared_seeds_count() -> None:
    ours = {"a": {1: 5.0, 2: 7.0, 3: 0.0}, "b": {1: 1.0}, "c": {1: 9.0}}
    found = difference(ours, {"a": {1: 4.0, 2: 4.0}, "b": {1: 4.0}})
    assert found.mean == pytest.approx((2 - 3) / 2)
    assert (found.low, found.high) == (None, None)  # one seed on b
    assert found.num_pairs == 3


def test_nothing_shared_is_no_difference() -> None:
    assert difference({"a": {1: 1.0}}, {"a": {2: 1.0}, "b": {1: 1.0}}) is None
