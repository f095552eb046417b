from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks import agreement, experts, gpu
from benchmarks.__main__ import main
from benchmarks.gpu import BERT, BUILDING, EXPERTS, IMP, LLAMA, RESNET, Weight, jobs, ways_to_build
from benchmarks.variants import BASELINE, DENSE, UNIT_5


@pytest.mark.parametrize("quick", [True, False])
def test_the_check_comes_first_and_the_rest_in_the_order_of_its_importance(quick: bool) -> None:
    parts = list(dict.fromkeys(job.part.partition(",")[0] for job in jobs(quick)))
    assert parts == [agreement.PART, EXPERTS, BUILDING, LLAMA, BERT, RESNET, IMP]


def test_experts_are_measured_in_both_sizes_from_few_tokens_to_many_in_bfloat16() -> None:
    cases = [job.case for job in jobs(quick=False) if job.part == "experts, forward+backward"]
    assert {case["shape"] for case in cases} == {"1024/4096", "2048/8192"}
    assert [case["tokens"] for case in cases] == [256, 1024, 4096, 16_384, 65_536] * 2
    assert {case["dtype"] for case in cases} == {"bfloat16"}
    assert all(set(cell.variants) >= {"dense", "transformers eager"} for cell in gpu.FULL.cells)


@pytest.mark.parametrize("mode", experts.MODES)
def test_layers_run_in_full_size_off_the_cpu_without_waiting_for_values(
    mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the meta device, which takes the ways of a GPU, refuses what a GPU's kernels do, and has no values to read."""
    monkeypatch.setattr(experts, "device", lambda: torch.device("meta"))
    variants = (DENSE, BASELINE, UNIT_5)  # which elements are dynamic is a question of values
    for cell in gpu.FULL.cells:
        found = experts.time_cell(replace(cell, variants=variants), mode, 1, "wall")
        assert set(found["seconds"]) == set(variants)


def test_where_the_check_fails_nothing_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agreement, "deviations", lambda *_: {agreement.LOGITS: 0.1})
    with pytest.raises(SystemExit, match=r"^error: .*logits by"):
        main(["gpu", "--quick", "--output", str(tmp_path)])
    assert not list(tmp_path.iterdir())


@torch.no_grad()
def test_every_way_to_build_a_weight_gives_the_same() -> None:
    first, *others = [build() for build in ways_to_build(Weight(3, 101)).values()]
    assert first.shape == (3, 101)
    for other in others:
        assert torch.equal(other, first)
