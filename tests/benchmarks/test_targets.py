import pytest

from benchmarks.comparison import Comparison
from benchmarks.targets import Target, judge, verdict_table


def comparison(tokens: int, **values: list[float]) -> Comparison:
    return Comparison("forward", {"tokens": tokens}, "seconds", values, ["base"])


RUNS = [
    comparison(64, base=[1.0, 1.0, 1.0], ours=[5.0, 5.0, 5.0]),
    comparison(1024, base=[10.0, 10.0, 20.0], ours=[7.0, 8.0, 14.0], other=[9.0, 9.0, 18.0]),
    comparison(4096, base=[40.0, 40.0, 40.0], ours=[32.0, 36.0, 30.0], other=[31.0, 31.0, 31.0]),
]


@pytest.mark.parametrize(
    ("most", "variants", "met"),
    [
        (0.80, ("ours",), True),
        (0.79, ("ours",), False),  # 0.7 and 0.8: one case misses it
        (0.78, ("ours", "other"), True),  # the best of them in each case: 0.7 and 0.775
        (0.77, ("ours", "other"), False),
    ],
)
def test_every_case_must_meet_the_target_with_its_best_variant(
    most: float, variants: tuple[str, ...], met: bool
) -> None:
    (verdict,) = judge([Target("t", "forward", variants, most, "base", least={"tokens": 1024})], RUNS)
    assert verdict.met is met
    assert [case["tokens"] for case, _ in verdict.found] == [1024, 4096]
    assert ("**NOT MET**" in verdict_table([verdict])) is not met


def test_the_spread_is_that_of_ratios_within_rounds() -> None:
    (verdict,) = judge([Target("t", "forward", ("ours",), 1, "base", equal={"tokens": 1024})], RUNS)
    ((_, spread),) = verdict.found
    assert spread == pytest.approx((0.7, 0.7, 0.75))
    assert "0.70 [0.70, 0.75]" in verdict_table([verdict])


def test_a_difference_and_a_value_are_judged_in_seconds() -> None:
    late = Target("late", "forward", ("ours",), 4.0, "base", by="difference", equal={"tokens": 64})
    long = Target("long", "forward", ("ours",), 4.9, by="value", equal={"tokens": 64})
    verdicts = judge([late, long], RUNS)
    assert [verdict.met for verdict in verdicts] == [True, False]
    assert "+4,000 ms" in verdict_table(verdicts)


@pytest.mark.parametrize("changed", [{"part": "backward"}, {"quantity": "peak bytes"}, {"baseline": "absent"}])
def test_what_was_not_measured_is_neither_met_nor_missed(changed: dict[str, str]) -> None:
    fields = {"part": "forward", "variants": ("ours",), "most": 1.0, "baseline": "base"} | changed
    (verdict,) = judge([Target("t", **fields)], RUNS)
    assert verdict.met is None
    assert "not measured" in verdict_table([verdict])
