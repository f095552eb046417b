"""Feed-forward layers: partitioned at 0.5 against fully dynamic, in time and in memory.

    python -m benchmarks.experts                          everything; quarter of an hour on two quiet cores
    python -m benchmarks.experts --quick                  tiny sizes, to see that it runs
    python -m benchmarks.experts --threads 1 --clock processor      on a machine that others use too

Times: in one process, every variant once per round in random order; given are medians over rounds, and quartiles of
the ratios within rounds. The baseline is transformers' own experts code with the same shapes and routing. A target is
met if the median ratio meets it against transformers' code and against our own fully dynamic layer as well, which is
never slower and in training with "eager" faster.
Memory: see benchmarks/memory.py.
"""

import argparse
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.layers import TRANSFORMERS, Dense, LayerConfig, TransformersExperts, partition_at_random, randomize
from benchmarks.memory import GRANULARITIES, MemoryCase, measure_in_fresh_process
from benchmarks.picture import draw_experts
from benchmarks.results import RESULTS, table, verdict, write_json
from benchmarks.timing import Clock, Quartiles, interleaved, quartiles, ratios
from padnet_hf.layers.experts import BY_DEVICE, PADExperts
from padnet_hf.partition.layer import pad_weights

IMPLEMENTATIONS = {"eager": "eager", "grouped_mm": "grouped_mm", BY_DEVICE: "grouped_mm"}
"""Ours, and which of transformers' own it is compared with: "pad" is our default, as grouped_mm is transformers'."""
MODES = ("forward", "forward+backward")
RATIO = 0.5
BASELINE, OURS, UNIT, ELEMENT, CACHED, DENSE = (
    "transformers, fully dynamic",
    "ours, fully dynamic",
    f"unit {RATIO}",
    f"element {RATIO}",
    f"element {RATIO}, cached",
    "dense",
)
TARGETS = {UNIT: 0.80, ELEMENT: 1.25, CACHED: 1.05, "memory": 0.70}


@dataclass
class Sizes:
    """What is measured: shapes are (H, I), memory is without its granularity, targets are highest ratios by variant."""

    shapes: tuple[tuple[int, int], ...] = ((384, 1536), (768, 3072))
    tokens: tuple[int, ...] = (1024, 4096)
    rounds: int = 11
    memory: MemoryCase = field(default_factory=MemoryCase)
    memory_rounds: int = 3
    targets: dict[str, float] = field(default_factory=lambda: TARGETS)


QUICK = Sizes(
    shapes=((16, 32),),
    tokens=(64,),
    rounds=2,
    memory=MemoryCase(layers=2, hidden=16, inner=32, tokens=64),
    memory_rounds=1,
    targets={},
)


def variants(config: LayerConfig, mode: str) -> dict[tuple[str, str], nn.Module]:
    """Layers by variant and implementation."""
    layers: dict[tuple[str, str], nn.Module] = {(DENSE, ""): Dense(config)}
    for implementation in IMPLEMENTATIONS:
        own = replace(config, _experts_implementation=implementation)
        if implementation in TRANSFORMERS:
            layers[BASELINE, implementation] = TransformersExperts(own)
        for name in (OURS, UNIT, ELEMENT, CACHED):
            layers[name, implementation] = PADExperts(own)
    for (name, _), layer in layers.items():
        randomize(layer)
        if name in (UNIT, ELEMENT, CACHED):
            partition_at_random(layer, "unit" if name == UNIT else "element", RATIO)
        if name == CACHED:
            for weight in pad_weights(layer).values():
                weight.cache = True
    return {key: layer for key, layer in layers.items() if mode == "forward" or key[0] != CACHED}


def run(layer: nn.Module, mode: str, hidden: Tensor, index: Tensor, weights: Tensor) -> None:
    """One forward pass in evaluation, or one forward and backward pass with all gradients."""
    if mode == "forward":
        with torch.no_grad():
            layer.eval()(hidden, index, weights)
        return
    layer.zero_grad()
    hidden = hidden.detach().requires_grad_()
    output = layer.train()(hidden, index, weights)
    output.backward(torch.ones_like(output))
    layer.zero_grad()


def routing(tokens: int, config: LayerConfig) -> tuple[Tensor, Tensor]:
    """Chosen experts (T, K), and gates (T, K) summing to one."""
    top, index = torch.randn(tokens, config.num_experts).topk(config.num_experts_per_tok)
    return index, top.softmax(dim=-1)


def time_case(hidden: int, inner: int, tokens: int, mode: str, sizes: Sizes, clock: Clock) -> Iterator[dict[str, Any]]:
    """A result per variant and implementation, all measured in the same rounds."""
    torch.manual_seed(0)
    config = LayerConfig(hidden, inner)
    inputs = (torch.randn(tokens, hidden), *routing(tokens, config))
    layers = variants(config, mode)
    calls: dict[Any, Callable[[], object]] = {key: partial(run, layer, mode, *inputs) for key, layer in layers.items()}
    seconds = interleaved(calls, sizes.rounds, clock)
    for (name, implementation), times in seconds.items():
        row = {"hidden": hidden, "inner": inner, "tokens": tokens, "mode": mode}
        row |= {"variant": name, "implementation": implementation, "seconds": times, "median": quartiles(times).median}
        if implementation:
            row["ratio"] = ratios(times, seconds[BASELINE, IMPLEMENTATIONS[implementation]])._asdict()
            row["ratio_to_ours"] = ratios(times, seconds[OURS, implementation])._asdict()
            row["target"] = sizes.targets.get(name)
            worst = max(row["ratio"]["median"], row["ratio_to_ours"]["median"])
            row["verdict"] = verdict(worst, row["target"])
        yield row


def time_table(rows: list[dict[str, Any]]) -> str:
    """The rows of one case."""
    header = ("variant", "implementation", "ms", "to transformers", "to ours", "target", "")
    lines = []
    for row in rows:
        cells = [row["variant"], row["implementation"], f"{row['median'] * 1e3:.1f}"]
        for key in ("ratio", "ratio_to_ours"):
            ratio = row.get(key)
            cells.append(str(Quartiles(**ratio)) if ratio else "")
        target = row.get("target")
        lines.append([*cells, f"{target:.2f}" if target else "", row.get("verdict", "")])
    return table(header, lines)


def measure_times(sizes: Sizes, clock: Clock) -> list[dict[str, Any]]:
    """All time cases, each printed when it is done."""
    results = []
    for hidden, inner in sizes.shapes:
        for tokens in sizes.tokens:
            for mode in MODES:
                rows = list(time_case(hidden, inner, tokens, mode, sizes, clock))
                print(f"\n{mode}, {hidden}/{inner}, {tokens} tokens\n\n{time_table(rows)}", flush=True)
                results += rows
    return results


def measure_memory(sizes: Sizes) -> list[dict[str, Any]]:
    """A result per granularity, fully dynamic with transformers' own code first; printed."""
    results = []
    for granularity in GRANULARITIES:
        implementation = "grouped_mm" if granularity == GRANULARITIES[0] else BY_DEVICE
        results.append({"case": asdict(replace(sizes.memory, granularity=granularity, implementation=implementation))})
    for _ in range(sizes.memory_rounds):
        for row in results:
            for name, value in measure_in_fresh_process(MemoryCase(**row["case"])).items():
                row.setdefault(name, []).append(value)
    for row in results:
        row["ratio"] = ratios(row["peak_bytes"], results[0]["peak_bytes"])._asdict()
        row["target"] = None if row is results[0] else sizes.targets.get("memory")
        row["verdict"] = verdict(row["ratio"]["median"], row["target"])
    base = sizes.memory
    print(f"\ntraining step, {base.layers} layers {base.hidden}/{base.inner}, {base.tokens} tokens\n")
    print(memory_table(results), flush=True)
    return results


def memory_table(rows: list[dict[str, Any]]) -> str:
    """Medians over rounds."""
    header = ("variant", "parameters MiB", "peak MiB", "to fully dynamic", "target", "", "seconds of the step")
    lines = []
    for row in rows:
        parameters, peak = (quartiles(row[key]).median / 2**20 for key in ("parameter_bytes", "peak_bytes"))
        cells = [row["case"]["granularity"], f"{parameters:.0f}", f"{peak:.0f}", str(Quartiles(**row["ratio"]))]
        target = f"{row['target']:.2f}" if row["target"] else ""
        lines.append([*cells, target, row["verdict"], f"{quartiles(row['seconds_of_second_step']).median:.1f}"])
    return table(header, lines)


def main(argv: list[str] | None = None) -> None:
    """Measure, print, and write experts.json and experts.png."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="tiny sizes: shows that everything runs, says nothing")
    parser.add_argument("--output", type=Path, default=RESULTS, metavar="DIR", help="for experts.json and experts.png")
    parser.add_argument("--rounds", type=int, help="rounds that count (default 11)")
    parser.add_argument("--threads", type=int, help="torch's threads (default: torch's own choice)")
    parser.add_argument("--clock", choices=("wall", "processor"), default="wall", help="see benchmarks/timing.py")
    options = parser.parse_args(argv)
    sizes = QUICK if options.quick else Sizes()
    sizes.rounds = options.rounds or sizes.rounds
    if options.threads:
        torch.set_num_threads(options.threads)
    results = {
        "options": {**vars(options), "output": str(options.output)},
        "times": measure_times(sizes, options.clock),
        "memory": measure_memory(sizes),
    }
    path = write_json(options.output, "experts", results)
    draw_experts(results, path.with_suffix(".png"))
    print(f"\nwritten: {path}, {path.with_suffix('.png')}")


if __name__ == "__main__":
    main()
