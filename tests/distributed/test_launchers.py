"""The commands that a user types, with their own launchers, two processes on CPUs."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.forked import ROOT

pytestmark = pytest.mark.slow

LAUNCHERS = {
    "accelerate": ["accelerate", "launch", "--multi_gpu", "--num_processes", "2", "--main_process_port", "0"],
    "torchrun": ["torchrun", "--standalone", "--nproc_per_node", "2"],
}
SECONDS = 240


def launch(launcher: str, common: list[str], *options: str, folder: Path) -> subprocess.CompletedProcess[str]:
    program, *arguments = LAUNCHERS[launcher]
    script = str(ROOT / "examples" / "glue" / "run_glue.py")
    command = [str(Path(sys.executable).parent / program), *arguments, script, *common, *options]
    command += ["--output_dir", str(folder)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=SECONDS, check=False)


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_a_launcher_starts_processes_that_train_together_and_one_of_them_talks(
    launcher: str, common: list[str], tmp_path: Path
) -> None:
    done = launch(launcher, common, "--use_cpu", "--per_device_train_batch_size", "4", folder=tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("What this run made") == 1
    assert done.stdout.count("files: 64 train, 13 validation") == 1
    assert re.search(r"eval_samples +=  +13\n", done.stdout)
    assert (tmp_path / "out" / "checkpoint-4" / "rng_state_1.pth").exists()  # the second process was part of it


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_a_mistake_is_said_once_and_ends_all_processes(launcher: str, common: list[str], tmp_path: Path) -> None:
    done = launch(launcher, common, "--use_cpu", "--dynamic_ratio", "2", folder=tmp_path / "out")
    assert done.returncode != 0
    assert re.findall(r"^error: .*", done.stderr, re.MULTILINE) == [
        "error: dynamic_ratio is 2.0, but it is a share: give a number from 0 (all static) to 1 (all dynamic), for "
        "instance 0.5."
    ]
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(torch.accelerator.is_available(), reason="with an accelerator the processes train together on it")
def test_processes_that_would_train_alone_are_refused(common: list[str], tmp_path: Path) -> None:
    done = launch("torchrun", common, folder=tmp_path / "out")
    assert done.returncode != 0
    assert "error: 2 processes were started, but each would train alone" in done.stderr
    assert not (tmp_path / "out").exists()
