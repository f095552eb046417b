"""A run killed at any of these points goes on from its last whole checkpoint and ends as if nothing had happened."""

import re
import signal
from functools import partial
from pathlib import Path

import pytest

from padnet_hf.jobs.output_folder import find_checkpoint
from tests.forked import Script
from tests.interruptions.comparing import results
from tests.interruptions.conftest import GRANULARITIES
from tests.interruptions.kill_points import POINTS, arm

pytestmark = pytest.mark.slow

BY_UNIT = (
    "partition: some weights are partitioned, others not",
    "training: between steps",
    "saving: the checkpoint's weights are in place, its config is not",
    "saving: the trainer's state is written by half",
    "end: the weights are in place, the config is not",
)
CASES = [(point, "element") for point in POINTS] + [(point, "unit") for point in BY_UNIT]


@pytest.fixture(scope="module")
def uninterrupted() -> dict[str, dict[str, object]]:
    """What runs that nothing stopped end with, by granularity; filled by the first test that needs them."""
    return {}


@pytest.mark.parametrize(("point", "granularity"), CASES)
def test_a_killed_run_goes_on_and_ends_bit_equal(
    point: str, granularity: str, training: Script, uninterrupted: dict[str, dict[str, object]], tmp_path: Path
) -> None:
    options, out = GRANULARITIES[granularity], tmp_path / "out"
    if granularity not in uninterrupted:
        training.run(*options, "--output_dir", str(tmp_path / "whole"))
        uninterrupted[granularity] = results(tmp_path / "whole")
    if "removed" in point:
        options = [*options, "--save_total_limit", "1"]
    (killed,) = training.start(*options, change=partial(arm, name=point))
    assert killed.code == -signal.SIGKILL, killed.err

    step = POINTS[point].resumes_from
    if step is None:
        (refused,) = training.start(*options, "--resume_from_checkpoint", "last")
        assert refused.code == 2
        assert re.search(r"^error: .*no complete checkpoint; leave the option out and add --over", refused.err, re.M)
        training.run(*options, "--overwrite_output_dir")
    else:
        assert find_checkpoint("last", str(out)) == str(out / f"checkpoint-{step}")
        training.run(*options, "--resume_from_checkpoint", "last")
    assert results(out) == uninterrupted[granularity]
