from pathlib import Path

import pytest
import torch

from benchmarks import agreement, gpu
from benchmarks.__main__ import main
from benchmarks.gpu import BERT, BUILDING, EXPERTS, IMP, LLAMA, RESNET, Weight, jobs, ways_to_build


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
