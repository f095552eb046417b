"""Dynamic convolution, layer by layer and in whole networks: plain, upstream's way, ours fully dynamic, ours at 0.3.

    python -m benchmarks.dynamic_conv --threads 1

All variants of a case are timed in turns, in the same rounds; what counts are ratios. Peak memory is that of a fresh
process for each variant (see benchmarks/memory.py). Prints tables, and writes dynamic_conv.json and dynamic_conv.png.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.convolutions import (
    ELEMENT,
    NETWORK_VARIANTS,
    OURS,
    PLAIN,
    PLAIN_FUSED,
    RESNET_50,
    SMALL,
    UNIT,
    UNIT_FUSED,
    UPSTREAM,
    build,
    compute_as_upstream,
    layer_cases,
)
from benchmarks.memory import resident
from benchmarks.picture import draw_convolutions
from benchmarks.results import RESULTS, table, verdict, write_json
from benchmarks.timing import Clock, Quartiles, interleaved, quartiles, ratios
from padnet_hf import PADResNetConfig, PADResNetForImageClassification

NETWORKS = {"ResNet-50": RESNET_50, "small ResNet": SMALL}
LAYER_VARIANTS = (PLAIN, UPSTREAM, OURS, ELEMENT, UNIT)
TARGETS = {
    ("inference", OURS, UPSTREAM): 0.35,
    ("inference", UNIT, UPSTREAM): 0.25,
    ("inference", UNIT, PLAIN): 1.15,
    ("training step", UNIT, UPSTREAM): 0.45,
    ("memory", UNIT, UPSTREAM): 0.50,
}
"""For ResNet-50 at 224, batch 8, on a CPU: mode, variant, what it is compared with."""


@dataclass
class Sizes:
    """What is measured; the defaults are the benchmark, `QUICK` only shows that it runs."""

    networks: tuple[str, ...] = tuple(NETWORKS)
    batches: tuple[int, ...] = (1, 8, 32)
    training_batches: dict[str, int] = field(default_factory=lambda: {"ResNet-50": 8, "small ResNet": 128})
    memory_batch: int = 8
    rounds: int = 5
    targets: bool = True


QUICK = Sizes(("small ResNet",), (2,), {"small ResNet": 2}, memory_batch=2, rounds=1, targets=False)


def infer(model: nn.Module, inputs: Tensor) -> None:
    """One forward pass in evaluation."""
    with torch.no_grad():
        model(inputs)


def train(model: nn.Module, inputs: Tensor) -> None:
    """One forward and backward pass with all gradients."""
    model(inputs, labels=torch.zeros(len(inputs), dtype=torch.long)).loss.backward()
    model.zero_grad()


def time_case(calls: dict[str, Callable[[], object]], mode: str, options: "Options", targets: bool) -> list[dict]:
    """A result per variant, with ratios to the plain network and to upstream's way, measured in the same rounds."""
    seconds = interleaved(calls, options.rounds, options.clock)
    rows = []
    for variant, times in seconds.items():
        row: dict[str, Any] = {"mode": mode, "variant": variant, "seconds": times, "median": quartiles(times).median}
        for baseline in (PLAIN, UPSTREAM):
            ratio = ratios(times, seconds[baseline])
            target = TARGETS.get((mode, variant, baseline)) if targets else None
            row[f"to {baseline}"] = {**ratio._asdict(), "target": target, "verdict": verdict(ratio.median, target)}
        rows.append(row)
    return rows


@dataclass
class Options:
    """How to measure."""

    rounds: int
    clock: Clock


def measure_layers(name: str, sizes: Sizes, options: Options) -> list[dict[str, Any]]:
    """Every shape of convolution in a network, forward pass; printed."""
    config, rows = NETWORKS[name], []
    models = {variant: build(variant, config).eval() for variant in LAYER_VARIANTS}
    for case in layer_cases(config):
        layers = {variant: model.get_submodule(case.name) for variant, model in models.items()}
        channels = layers[OURS].in_channels
        inputs = torch.randn(sizes.training_batches[name], channels, case.size, case.size)
        calls = {variant: partial(infer, layer, inputs) for variant, layer in layers.items()}
        for row in time_case(calls, "layer", options, targets=False):
            weight = layers[OURS].weight.shape
            shape = f"{channels}->{weight[0]} {weight[2]}x{weight[3]}/{layers[OURS].geometry.stride[0]} on {case.size}"
            rows.append({"network": name, "layer": shape, "count": case.count, "batch": len(inputs), **row})
    shapes = dict.fromkeys(row["layer"] for row in rows)
    lines = []
    for shape in shapes:
        own = {row["variant"]: row for row in rows if row["layer"] == shape}
        shares = [f"{own[variant][f'to {PLAIN}']['median']:.2f}" for variant in LAYER_VARIANTS[1:]]
        lines.append([shape, str(own[PLAIN]["count"]), f"{own[PLAIN]['median'] * 1e3:.2f}", *shares])
    print(f"\nlayers of {name}, batch {len(inputs)}, forward; times of the plain convolution's\n")
    print(table(("layer", "times", "plain ms", *LAYER_VARIANTS[1:]), lines), flush=True)
    return rows


def measure_network(name: str, sizes: Sizes, options: Options) -> list[dict[str, Any]]:
    """Whole networks, inference at every batch size and a training step; printed."""
    config: PADResNetConfig = NETWORKS[name]
    models = {variant: build(variant, config) for variant in NETWORK_VARIANTS}
    results = []
    training_batch = sizes.training_batches[name]
    cases = [("inference", batch) for batch in {**dict.fromkeys(sizes.batches), training_batch: None}]
    for mode, batch in (*cases, ("training step", training_batch)):
        trained = [v for v in NETWORK_VARIANTS if mode == "inference" or v not in (PLAIN_FUSED, UNIT_FUSED)]
        inputs = torch.randn(batch, config.num_channels, config.image_size, config.image_size)
        function = infer if mode == "inference" else train
        calls = {v: partial(function, models[v].train(mode != "inference"), inputs) for v in trained}
        judged = sizes.targets and name == "ResNet-50" and batch == 8
        rows = time_case(calls, mode, options, targets=judged)
        print(
            f"\n{name}, {mode}, batch {batch}, images of {config.image_size}\n\n{network_table(rows, batch)}",
            flush=True,
        )
        results += [{"network": name, "batch": batch, **row} for row in rows]
    return results


def network_table(rows: list[dict[str, Any]], batch: int) -> str:
    """The rows of one case."""
    lines = []
    for row in rows:
        cells = [row["variant"], f"{batch / row['median']:.1f}"]
        for baseline in (PLAIN, UPSTREAM):
            ratio = dict(row[f"to {baseline}"])
            target, judged = ratio.pop("target"), ratio.pop("verdict")
            cells.append(f"{Quartiles(**ratio)}" + (f" {judged} (at most {target})" if target else ""))
        lines.append(cells)
    return table(("network", "images/s", f"to {PLAIN}", f"to {UPSTREAM}"), lines)


def measure_memory(sizes: Sizes) -> list[dict[str, Any]]:
    """Peak memory of inference in a fresh process per variant, parameters and all; printed."""
    name, batch = sizes.networks[0], sizes.memory_batch
    root, environment = Path(__file__).parents[1], {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    rows = []
    for variant in LAYER_VARIANTS:
        with tempfile.TemporaryDirectory() as folder:
            build(OURS if variant == UPSTREAM else variant, NETWORKS[name]).save_pretrained(folder)
            command = [sys.executable, "-m", "benchmarks.dynamic_conv", "--peak", folder, variant, str(batch)]
            ran = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=root, env=environment)
        rows.append({"network": name, "batch": batch, "variant": variant, "peak_bytes": json.loads(ran.stdout)})
    base, lines = next(row["peak_bytes"] for row in rows if row["variant"] == UPSTREAM), []
    for row in rows:
        row["ratio"] = row["peak_bytes"] / base
        row["target"] = TARGETS.get(("memory", row["variant"], UPSTREAM)) if sizes.targets else None
        row["verdict"] = verdict(row["ratio"], row["target"])
        lines.append([row["variant"], f"{row['peak_bytes'] / 2**20:.0f}", f"{row['ratio']:.2f}", row["verdict"]])
    print(f"\n{name}, peak memory of inference, batch {batch}\n")
    print(table(("network", "MiB", f"to {UPSTREAM}", ""), lines), flush=True)
    return rows


def peak(folder: str, variant: str, batch: str) -> int:
    """Bytes of a network loaded from a folder and two inferences, in this very process: call it in a fresh one."""
    before = resident("VmRSS")
    model = PADResNetForImageClassification.from_pretrained(folder)
    if variant == UPSTREAM:
        compute_as_upstream(model)
    config = model.config
    for _ in range(2):
        infer(model, torch.randn(int(batch), config.num_channels, config.image_size, config.image_size))
    return resident("VmHWM") - before


def main(argv: list[str] | None = None) -> None:
    """Measure, print, and write dynamic_conv.json and dynamic_conv.png."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tiny network: shows that everything runs, says nothing")
    parser.add_argument("--output", type=Path, default=RESULTS, metavar="DIR", help="for the JSON and the picture")
    parser.add_argument("--rounds", type=int, help="rounds that count (default 5)")
    parser.add_argument("--threads", type=int, help="torch's threads (default: torch's own choice)")
    parser.add_argument("--clock", choices=("wall", "processor"), default="wall", help="see benchmarks/timing.py")
    parser.add_argument("--peak", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.threads:
        torch.set_num_threads(options.threads)
    if options.peak:
        print(peak(*options.peak))
        return
    sizes = QUICK if options.quick else Sizes()
    how = Options(options.rounds or sizes.rounds, options.clock)
    results = {
        "options": {**vars(options), "output": str(options.output)},
        "memory": measure_memory(sizes),
        "networks": [row for name in sizes.networks for row in measure_network(name, sizes, how)],
        "layers": [row for name in sizes.networks for row in measure_layers(name, sizes, how)],
    }
    path = write_json(options.output, "dynamic_conv", results)
    draw_convolutions(results, path.with_suffix(".png"))
    print(f"\nwritten: {path}, {path.with_suffix('.png')}")


if __name__ == "__main__":
    main()
