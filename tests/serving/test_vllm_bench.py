"""The bench of vLLM's server runs in its quick form."""

import json
from pathlib import Path

from benchmarks import vllm_server
from benchmarks.__main__ import main
from tests.serving.test_vllm import needs_vllm

pytestmark = needs_vllm


def test_the_quick_form_measures_every_variant(tmp_path: Path) -> None:
    main(["vllm_server", "--quick", "--output", str(tmp_path)])
    comparisons = json.loads((tmp_path / "vllm_server.json").read_text())["comparisons"]
    measured = {one["part"]: set(one["values"]) for one in comparisons}
    sizes = vllm_server.QUICK
    assert measured == {
        vllm_server.CLASSIFICATION: set(sizes.classifiers),
        vllm_server.GENERATION: set(sizes.writers),
    }
    assert all(value > 0 for one in comparisons for values in one["values"].values() for value in values)
