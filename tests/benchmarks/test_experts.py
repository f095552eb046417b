import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.experts import BASELINE, CACHED, DENSE, ELEMENT, IMPLEMENTATIONS, MODES, OURS, QUICK, UNIT
from benchmarks.layers import TRANSFORMERS


@pytest.mark.slow
def test_the_quick_form_measures_every_row(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.experts", "--quick", "--threads", "1", "--output", str(tmp_path)]
    printed = subprocess.run(
        command, check=True, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]
    ).stdout

    results = json.loads((tmp_path / "experts.json").read_text())
    expected = [(mode, DENSE, "") for mode in MODES] + [
        (mode, variant, implementation)
        for mode in MODES
        for variant in (BASELINE, OURS, UNIT, ELEMENT, CACHED)
        for implementation in IMPLEMENTATIONS
        if (mode == "forward" or variant != CACHED) and (variant != BASELINE or implementation in TRANSFORMERS)
    ]
    assert sorted((row["mode"], row["variant"], row["implementation"]) for row in results["times"]) == sorted(expected)
    for row in results["times"]:
        assert len(row["seconds"]) == QUICK.rounds
        assert all(seconds > 0 for seconds in row["seconds"])
        assert row["variant"] == DENSE or row["ratio"]["lower"] <= row["ratio"]["median"] <= row["ratio"]["upper"]
    assert [row["case"]["granularity"] for row in results["memory"]] == ["fully dynamic", "element", "unit"]
    assert all(row["peak_bytes"][0] > row["parameter_bytes"][0] > 0 for row in results["memory"])
    assert {"date", "torch", "transformers", "padnet_hf", "cores", "threads"} <= set(results["environment"])

    assert all(row["variant"] in printed for row in results["times"])
    assert (tmp_path / "experts.png").read_bytes().startswith(b"\x89PNG")
