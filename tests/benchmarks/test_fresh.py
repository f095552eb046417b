import os
from functools import partial

import pytest
import torch

from benchmarks import fresh
from benchmarks.device import peak, reset_peak
from benchmarks.fresh import alternating, each_in_fresh_process, in_fresh_process, seconds_of_program


def hold(megabytes: int) -> dict[str, float]:
    """Peak bytes of a tensor that is gone at the end."""
    before = reset_peak()
    torch.ones(megabytes << 18)
    return {"bytes": peak() - before, "process": os.getpid()}


def test_a_peak_is_that_of_its_own_process() -> None:
    found = each_in_fresh_process({"small": partial(hold, 8), "large": partial(hold, 64)}, rounds=2)
    code = 16 << 20  # what a new process reads in of the libraries counts too
    assert found["bytes"]["small"] == pytest.approx([8 << 20] * 2, abs=code)
    assert found["bytes"]["large"] == pytest.approx([64 << 20] * 2, abs=code)
    processes = [number for numbers in found["process"].values() for number in numbers]
    assert len({*processes, os.getpid()}) == 5


def test_a_peak_is_forgotten() -> None:
    hold(64)
    assert hold(8)["bytes"] < 32 << 20


def test_it_has_as_many_threads_and_hands_on_errors() -> None:
    assert in_fresh_process(torch.get_num_threads) == torch.get_num_threads()
    with pytest.raises(ZeroDivisionError):
        in_fresh_process(divmod, 1, 0)


def test_on_a_cuda_device_it_is_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fresh, "device", lambda: torch.device("cuda"))
    assert in_fresh_process(os.getpid) == os.getpid()


def test_rounds_run_every_call_once() -> None:
    log: list[str] = []
    calls = {name: lambda name=name: log.append(name) or {"length": len(log)} for name in "abc"}
    found = alternating(calls, rounds=4)
    assert [len(values) for values in found["length"].values()] == [4, 4, 4]
    assert [sorted(log[start : start + 3]) for start in range(0, 12, 3)] == [["a", "b", "c"]] * 4


@pytest.mark.parametrize("clock", ["wall", "processor"])
def test_a_program_is_timed_from_start_to_end(clock: str) -> None:
    assert 0 < seconds_of_program(["-c", "pass"], clock) < 10
