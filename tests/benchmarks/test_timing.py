from benchmarks.timing import interleaved, quartiles, ratios


def test_a_round_runs_every_call_once_and_the_first_does_not_count() -> None:
    log: list[str] = []
    seconds = interleaved({name: lambda name=name: log.append(name) for name in "abc"}, rounds=5)
    assert [len(times) for times in seconds.values()] == [5, 5, 5]
    rounds = [log[start : start + 3] for start in range(0, len(log), 3)]
    assert [sorted(names) for names in rounds] == [["a", "b", "c"]] * 6
    assert len({tuple(names) for names in rounds}) > 1  # not always in the same order


def test_quartiles_are_the_ones_worked_by_hand() -> None:
    assert quartiles([5.0, 1.0, 3.0, 2.0, 4.0]) == (2.0, 3.0, 4.0)
    assert quartiles([7.0]) == (7.0, 7.0, 7.0)


def test_a_slow_round_slows_both_and_leaves_the_ratio() -> None:
    assert ratios([2.0, 20.0, 2.0], [1.0, 10.0, 1.0]) == (2.0, 2.0, 2.0)
