import json
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import benchmarks.__main__ as command
from benchmarks import suite, vllm_server
from benchmarks.__main__ import main
from benchmarks.comparison import Job, Measured
from benchmarks.report import as_document, fill, sections
from benchmarks.results import environment
from benchmarks.suite import BENCHES, Options, bench_named, run_bench
from benchmarks.targets import Target

LONGER = {"checkpoints": [pytest.mark.slow], "serving": [pytest.mark.thorough]}
HERE = [name for name in BENCHES if name != "vllm_server"]  # tests/serving/test_vllm_bench.py has the other


@pytest.mark.parametrize("name", [pytest.param(name, marks=LONGER.get(name, [])) for name in HERE])
def test_the_quick_form_measures_every_part(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main([name, "--quick", "--output", str(tmp_path)])
    found = json.loads((tmp_path / f"{name}.json").read_text())
    bench, comparisons = bench_named(name), found["comparisons"]

    full = {job.part for job in bench.jobs(quick=False)}
    assert {comparison["part"] for comparison in comparisons} == full
    assert {target.part for target in bench.TARGETS} <= full
    measured = {(one["part"], one["quantity"]) for one in comparisons}
    assert {(target.part, target.quantity) for target in bench.TARGETS} <= measured
    assert found["targets"] == []  # tiny sizes say nothing
    for one in comparisons:
        assert len({len(values) for values in one["values"].values()}) == 1
        assert all(value > 0 for values in one["values"].values() for value in values), one
        assert all(one["ratios"][baseline][baseline]["median"] == 1 for baseline in one["baselines"])
    assert set(environment()) <= set(found["environment"])
    assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")

    printed = capsys.readouterr().out
    names = {variant for one in comparisons for variant in one["values"]}
    assert all(variant in printed for variant in names)
    document = as_document(sections(tmp_path))
    assert all(variant in document for variant in names)


def test_without_vllm_its_bench_says_what_it_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(vllm_server, "PYTHON", None)
    main(["vllm_server", "--output", str(tmp_path)])
    assert "PADNET_SERVING_PYTHON names no Python with vLLM" in capsys.readouterr().out
    assert not list(tmp_path.glob("*.png"))


@pytest.mark.parametrize("name", HERE)
def test_targets_speak_of_what_the_full_form_measures(name: str) -> None:
    bench = bench_named(name)
    jobs = list(bench.jobs(quick=False))
    assert len({(job.part, json.dumps(job.case)) for job in jobs}) == len(jobs)
    for target in bench.TARGETS:
        cases = [job.case for job in jobs if job.part == target.part]
        fitting = [
            case
            for case in cases
            if target.equal.items() <= case.items() and all(case[k] >= least for k, least in target.least.items())
        ]
        assert fitting, target.what


def toy_bench(log: list[str]) -> SimpleNamespace:
    """A bench of two jobs that writes down what is measured."""

    def measure(name: str, rounds: int, clock: str) -> Measured:
        log.append(name)
        return {"seconds": {"slow": [2.0] * rounds, "fast": [1.0] * rounds}}

    def jobs(quick: bool) -> Iterator[Job]:
        for name in ("first", "second"):
            yield Job(name, {"tokens": 5}, partial(measure, name), 3, ("slow",), (5, "tokens"))

    targets = [Target("fast enough", "first", ("fast",), 0.6, "slow"), Target("never", "third", ("fast",), 1, "slow")]
    return SimpleNamespace(__doc__="A toy.", TARGETS=targets, jobs=jobs)


def test_results_are_kept_job_by_job_and_a_resumed_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    log: list[str] = []
    monkeypatch.setattr(suite, "bench_named", lambda name: toy_bench(log))
    run_bench("experts", Options(output=tmp_path, parts=("first",)))
    run_bench("experts", Options(output=tmp_path, resume=True))
    assert log == ["first", "second"]
    run_bench("experts", Options(output=tmp_path, resume=True, clock="processor"))  # not the same measurement
    assert log == ["first", "second"] * 2
    run_bench("experts", Options(output=tmp_path, rounds=1))
    assert log == ["first", "second"] * 3
    found = json.loads((tmp_path / "experts.json").read_text())
    assert found["comparisons"][0]["values"]["fast"] == [1.0]
    assert [target["met"] for target in found["targets"]] == [True, None]
    printed = capsys.readouterr().out
    assert "0.50 [0.50, 0.50]" in printed
    assert "not measured" in as_document(sections(tmp_path))


def test_when_the_time_is_used_up_nothing_more_is_started_and_what_is_left_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    log: list[str] = []
    monkeypatch.setattr(suite, "bench_named", lambda name: toy_bench(log))
    clock = iter([0.0, 59.0, 61.0])  # at the start, before the first job, before the second
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    main(["experts", "--output", str(tmp_path), "--minutes", "1"])
    assert log == ["first"]
    told = [line for line in capsys.readouterr().out.splitlines() if line.startswith("left for want of time")]
    assert told == ["left for want of time: second (5 tokens). `--resume` goes on."]
    found = json.loads((tmp_path / "experts.json").read_text())
    assert [comparison["part"] for comparison in found["comparisons"]] == ["first"]
    monkeypatch.undo()
    monkeypatch.setattr(suite, "bench_named", lambda name: toy_bench(log))
    main(["experts", "--output", str(tmp_path), "--resume"])
    assert log == ["first", "second"]
    assert "left for want of time" not in capsys.readouterr().out


def test_a_job_that_fails_is_told_and_keeps_no_other_from_being_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    log: list[str] = []
    bench = toy_bench(log)

    def fail(rounds: int, clock: str) -> Measured:
        raise MemoryError("too large")

    def jobs(quick: bool) -> Iterator[Job]:
        yield Job("broken", {"tokens": 7}, fail, 3, ("slow",))
        yield from bench.jobs(quick)

    monkeypatch.setattr(suite, "bench_named", lambda name: SimpleNamespace(**vars(bench) | {"jobs": jobs}))
    for resumed in ([], ["--resume"]):  # it is not taken for done
        with pytest.raises(SystemExit, match=r"^error: not measured, for what is told above: broken \(7 tokens\)$"):
            main(["experts", "--output", str(tmp_path), *resumed])
        assert "MemoryError: too large" in capsys.readouterr().err
        assert log == ["first", "second"]
        found = json.loads((tmp_path / "experts.json").read_text())
        assert [comparison["part"] for comparison in found["comparisons"]] == ["first", "second"]


def test_without_a_cuda_device_its_bench_is_refused_unless_quick(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(suite, "device", lambda: torch.device("cpu"))
    with pytest.raises(SystemExit) as refusal:
        main(["gpu", "--output", str(tmp_path)])
    assert refusal.value.code == 2
    (told,) = (line for line in capsys.readouterr().err.splitlines() if "error:" in line)
    assert "the bench gpu needs a CUDA device" in told
    assert "--quick" in told
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("device", "quick", "runs"), [("cpu", [], False), ("cpu", ["--quick"], True), ("cuda", [], True)]
)
def test_by_default_every_bench_runs_that_can_be_run_here(
    device: str, quick: list[str], runs: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(suite, "device", lambda: torch.device(device))
    monkeypatch.setattr(command, "run_bench", lambda name, options: asked.append(name))
    main(quick)
    assert asked == [name for name in BENCHES if name != "gpu" or runs]


def test_documents_are_filled_between_their_marks(tmp_path: Path) -> None:
    path = tmp_path / "text.md"
    path.write_text(
        "a\n<!-- benchmarks: imp -->\nold\n<!-- /benchmarks -->\nb\n<!-- benchmarks: no -->\nc\n<!-- /benchmarks -->\n"
    )
    for _ in range(2):
        fill(path, {"imp": "| new |"})
        assert path.read_text() == (
            "a\n<!-- benchmarks: imp -->\n\n| new |\n\n<!-- /benchmarks -->\nb\n"
            "<!-- benchmarks: no -->\nc\n<!-- /benchmarks -->\n"
        )


def test_results_of_an_earlier_form_are_not_reported(tmp_path: Path) -> None:
    (tmp_path / "experts.json").write_text(json.dumps({"times": []}))
    assert "## experts" not in as_document(sections(tmp_path))


@pytest.mark.parametrize(
    "arguments", [["unknown"], ["report", "imp"], ["--clock", "sun"], ["--minutes", "0"], ["--minutes", "nan"]]
)
def test_a_wrong_command_line_is_refused(arguments: list[str]) -> None:
    with pytest.raises(SystemExit):
        main(arguments)
