import re

import pytest

from benchmarks.partition_memory import SIZES, main, random_mixture
from padnet_hf import relatedness

SMALL = SIZES | {"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 2}


@pytest.mark.parametrize("options", [[], ["--granularity", "element", "--undo", "file"], ["--leave_out"]])
def test_the_peak_is_said_by_the_models_own_bytes(options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    main(options, SMALL)
    printed = capsys.readouterr().out.replace(",", "")
    size, most, times = map(float, re.findall(r"\d+(?:\.\d+)?", printed))
    assert times == pytest.approx(most / size, rel=0.1)
    assert times >= 1


def test_its_experts_are_strangers() -> None:
    assert all(value == pytest.approx(7 / 8, abs=0.02) for value in relatedness(random_mixture(SMALL)).values())
