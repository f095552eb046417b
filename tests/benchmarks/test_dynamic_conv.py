import json
from pathlib import Path

import pytest
import torch

from benchmarks.convolutions import ELEMENT, OURS, PLAIN, RESNET_50, SMALL, UNIT, UPSTREAM, build, layer_cases
from benchmarks.dynamic_conv import LAYER_VARIANTS, main


def test_upstreams_way_and_ours_give_the_same_logits() -> None:
    images = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        logits = [build(variant, SMALL).eval()(images).logits for variant in (UPSTREAM, OURS)]
    assert torch.allclose(*logits, atol=1e-5)


def test_the_partitions_compared_have_three_tenths_of_the_elements_dynamic() -> None:
    for variant in (ELEMENT, UNIT):
        assert build(variant, SMALL).partition_report().dynamic_ratio == pytest.approx(0.3, abs=0.03)


def test_every_shape_of_resnet_50_is_timed_once() -> None:
    with torch.device("meta"):
        cases = list(layer_cases(RESNET_50))
    assert sum(case.count for case in cases) == 52  # all but the stem
    assert len(cases) == len(set(cases)) == 22


@pytest.mark.slow
def test_the_quick_form_measures_every_row(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["--quick", "--output", str(tmp_path)])
    results = json.loads((tmp_path / "dynamic_conv.json").read_text())
    assert [row["variant"] for row in results["memory"]] == list(LAYER_VARIANTS)
    assert all(row["peak_bytes"] > 0 for row in results["memory"])
    for row in (*results["networks"], *results["layers"]):
        assert len(row["seconds"]) == 1
        assert row["variant"] != PLAIN or row[f"to {PLAIN}"]["median"] == 1
    assert {row["mode"] for row in results["networks"]} == {"inference", "training step"}
    assert (tmp_path / "dynamic_conv.png").stat().st_size > 10_000
    assert "layers of small ResNet" in capsys.readouterr().out
