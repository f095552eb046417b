"""A run killed at any of these points goes on from its last whole checkpoint and ends as if nothing had happened."""

import re
import signal
from functools import partial
from pathlib import Path

import pytest

from padnet_hf.jobs.output_folder import find_checkpoint
from tests.forked import Script
from tests.interruptions.comparing import results
from tests.interruptions.kill_points import POINTS, READING, arm

pytestmark = pytest.mark.slow

ONE_OF_EACH_STAGE = (
    "partition: some weights are partitioned, others not",
    "training: between steps",
    "saving: the checkpoint's weights are in place, its config is not",
    "saving: the trainer's state is written by half",
    "end: the weights are in place, the config is not",
)
KILLED = signal.SIGKILL
CASES = [(point, "element", KILLED) for point in POINTS] + [(point, "unit", KILLED) for point in ONE_OF_EACH_STAGE]
CASES += [(point, "text", KILLED) for point in (*READING, *ONE_OF_EACH_STAGE)]
CASES += [
    (point, "streamed", KILLED) for point in (*ONE_OF_EACH_STAGE[:2], "text: a document is to be cut into tokens")
]

ASKED_TO_END = (
    "text: the blocks are to be put together",
    "partition: some weights are partitioned, others not",
    "training: in a backward pass",
    "saving: the checkpoint's weights are to be moved into place",
    "end: the tokenizer is to be written",
)
CASES += [(point, "text", number) for point in ASKED_TO_END for number in (signal.SIGTERM, signal.SIGINT)]
CASES += [(ASKED_TO_END[3], "element", number) for number in (signal.SIGTERM, signal.SIGINT)]


@pytest.fixture(scope="module")
def uninterrupted() -> dict[str, dict[str, object]]:
    """What runs that nothing stopped end with, by kind; filled by the first test that needs them."""
    return {}


@pytest.mark.parametrize(("point", "kind", "number"), CASES)
def test_a_killed_run_goes_on_and_ends_bit_equal(
    point: str,
    kind: str,
    number: signal.Signals,
    runs: dict[str, Script],
    uninterrupted: dict[str, dict[str, object]],
    tmp_path: Path,
) -> None:
    training, out = runs[kind], tmp_path / "out"
    if kind not in uninterrupted:
        training.run("--output_dir", str(tmp_path / "whole"))
        uninterrupted[kind] = results(tmp_path / "whole")
    options = ["--save_total_limit", "1"] if "removed" in point else []
    (killed,) = training.start(*options, change=partial(arm, name=point, of=number))
    if number == signal.SIGINT:  # an exception, which whatever is under way may answer
        assert killed.code == 1
        assert killed.err.rstrip().endswith("KeyboardInterrupt")
    else:
        assert killed.code == -number, killed.err

    step = (READING | POINTS)[point].resumes_from
    if step is not None:
        assert find_checkpoint("last", str(out)) == str(out / f"checkpoint-{step}")
        training.run(*options, "--resume_from_checkpoint", "last")
    elif out.exists():
        (refused,) = training.start(*options, "--resume_from_checkpoint", "last")
        assert refused.code == 2
        assert re.search(r"^error: .*no complete checkpoint; leave the option out and add --over", refused.err, re.M)
        training.run(*options, "--overwrite_output_dir")
    else:
        training.run(*options)
    assert results(out) == uninterrupted[kind]
