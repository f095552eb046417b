"""Peak memory of a training step, each measured in a fresh process.

    python -m benchmarks.memory --granularity element     prints one measurement as JSON

The step is forward, backward and AdamW over a stack of PADFeedForward layers; the second of two, so that gradients and
both moments of the optimizer exist. Counted is the process's largest resident set (VmHWM of /proc/self/status) less
what was resident before the layers were built: parameters, gradients, optimizer state, activations, indices, scratch,
and what the C library keeps of freed memory, which differs by a few per cent from process to process.
VmHWM and not getrusage's ru_maxrss, because a new process inherits the latter from the one that started it.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import nn

from benchmarks.layers import LayerConfig, partition_at_random, randomize
from padnet_hf.layers.experts import BY_DEVICE
from padnet_hf.layers.feed_forward import PADFeedForward

GRANULARITIES = ("fully dynamic", "element", "unit")


@dataclass
class MemoryCase:
    """A stack of layers and the tokens of one step; granularity "fully dynamic" leaves it unpartitioned."""

    granularity: str = GRANULARITIES[0]
    implementation: str = BY_DEVICE
    ratio: float = 0.5
    layers: int = 12
    hidden: int = 768
    inner: int = 3072
    experts: int = 8
    tokens: int = 1024


def resident(field: str) -> int:
    """Bytes resident now ("VmRSS"), or at most so far ("VmHWM"). Linux only."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))


def build_stack(case: MemoryCase) -> nn.Sequential:
    """The layers, partitioned from the start: the memory that building needs must not hide that of the step."""
    config = LayerConfig(case.hidden, case.inner, case.experts, _experts_implementation=case.implementation)
    stack = nn.Sequential(*(PADFeedForward(config) for _ in range(case.layers)))
    if case.granularity != "fully dynamic":
        for layer in stack:
            partition_at_random(layer.experts, case.granularity, case.ratio)
    randomize(stack)
    return stack


def measure(case: MemoryCase) -> dict[str, float]:
    """Bytes and seconds of the case, in this very process: call it in a fresh one."""
    torch.manual_seed(0)
    before = resident("VmRSS")
    stack = build_stack(case)
    built = resident("VmHWM")
    optimizer = torch.optim.AdamW(stack.parameters())
    inputs = torch.randn(case.tokens, case.hidden)
    for _ in range(2):
        started = time.perf_counter()
        optimizer.zero_grad()
        hidden = inputs
        for layer in stack:
            hidden = hidden + layer(hidden)
        hidden.square().mean().backward()
        optimizer.step()
        seconds = time.perf_counter() - started
    return {
        "peak_bytes": resident("VmHWM") - before,
        "built_bytes": built - before,
        "parameter_bytes": sum(p.numel() * p.element_size() for p in stack.parameters()),
        "seconds_of_second_step": seconds,
    }


def measure_in_fresh_process(case: MemoryCase) -> dict[str, float]:
    """`measure` in a process of its own, with as many threads as this one."""
    arguments = [f"--{name}={value}" for name, value in asdict(case).items()]
    command = [sys.executable, "-m", "benchmarks.memory", *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    root = Path(__file__).parents[1]
    printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=root, env=environment).stdout
    return json.loads(printed.splitlines()[-1])


def main(argv: list[str] | None = None) -> None:
    """Measure one case and print it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in asdict(MemoryCase()).items():
        choices = GRANULARITIES if name == "granularity" else None
        parser.add_argument(f"--{name}", type=type(default), default=default, choices=choices)
    print(json.dumps(measure(MemoryCase(**vars(parser.parse_args(argv))))))


if __name__ == "__main__":
    main()
