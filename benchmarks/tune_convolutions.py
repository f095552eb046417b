"""Tune the dynamic convolution's paths to a machine: measure the constants of `ConvPaths`, write the best as a file.

    python -m benchmarks.tune_convolutions --output conv_paths.json    about half an hour
    PADNET_CONV_PATHS=conv_paths.json python ...                       uses it from then on

One constant after the other: candidates, the value in use among them, on the layers of ResNet-50, MobileNetV2 and a
small ResNet, each shape once, in inference and in the same rounds, each once per round in random order. A value takes
the place of the one in use only if it is faster by more than the spread: the upper quartile of the ratios within rounds
is below 0.99.
"""

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from tqdm.auto import tqdm

from benchmarks.convolutions import NETWORKS, OURS, UNIT, build, layer_cases
from benchmarks.device import Clock, device
from benchmarks.results import environment
from benchmarks.results import table as markdown
from benchmarks.timing import Quartiles, interleaved, ratios
from padnet_hf import PADDynamicConv2d
from padnet_hf.hub.whole_files import write_json
from padnet_hf.layers.conv_paths import SECTION, VARIABLE, ConvPaths, paths, using

CLEARLY = 0.99
"""A value is taken if three quarters of the rounds say that it is faster than that, to the one in use."""

CANDIDATES: dict[str, tuple[float, ...]] = {
    "output_mixing": (0, 25, 50, 100, 200, 400),
    "apart": (0.25, 0.5, 1.0, 1.5, 2.0, 4.0),
    "small_kernel": (0, 10_000, 20_000, 40_000, 80_000, 320_000),
    "narrow": (0, 50, 100, 300, 1000),
    "block_bytes": tuple(2**18 * quarters for quarters in (1, 2, 5, 10, 20)),
    "lanes": (1, 8, 16, 32),
    "scratch_bytes": tuple(2**20 * mebibytes for mebibytes in (1, 4, 16, 64)),
}
"""In the order of measuring: first which way is taken, then how."""


@dataclass(frozen=True)
class Sizes:
    """What is measured: networks with batches, and rounds."""

    batches: dict[str, tuple[int, ...]]
    rounds: int


FULL = Sizes({"ResNet-50": (8,), "MobileNetV2 1.0": (1, 8), "small ResNet": (8, 128)}, rounds=5)
QUICK = Sizes({"small ResNet": (2,)}, rounds=2)


@dataclass(frozen=True)
class Row:
    """One constant: the value in use, the fastest one, and its time to that of the one in use."""

    name: str
    used: float
    best: float
    ratio: Quartiles

    @property
    def is_better(self) -> bool:
        """Whether the fastest one is faster by more than the spread."""
        return self.best != self.used and self.ratio.upper < CLEARLY


class Layers:
    """Dynamic convolutions, fully dynamic and partitioned, each shape once, with inputs as in their networks."""

    def __init__(self, sizes: Sizes) -> None:
        self.calls: list[Callable[[], Tensor]] = []
        for name, batches in sizes.batches.items():
            with device():
                networks = [build(variant, NETWORKS[name]).eval() for variant in (OURS, UNIT)]
            for case in layer_cases(NETWORKS[name]):
                for layer in (network.get_submodule(case.name) for network in networks):
                    self._add(layer, case.size, batches)

    def _add(self, layer: PADDynamicConv2d, size: int, batches: Sequence[int]) -> None:
        for batch in batches:
            inputs = torch.randn(batch, layer.in_channels, size, size, device=device())
            self.calls.append(partial(layer, inputs))

    @torch.no_grad()
    def run(self, table: ConvPaths) -> None:
        """All of them once, with this table in use."""
        with using(table):
            for call in self.calls:
                call()


def measure(layers: Layers, used: ConvPaths, name: str, rounds: int, clock: Clock) -> Row:
    """One constant with the others as they are in use."""
    now = getattr(used, name)
    tables = {value: replace(used, **{name: value}) for value in sorted({now, *CANDIDATES[name]})}
    seconds = interleaved({str(v): partial(layers.run, table) for v, table in tables.items()}, rounds, clock)
    found = {value: ratios(seconds[str(value)], seconds[str(now)]) for value in tables}
    best = min(found, key=lambda value: (found[value].median, value != now))
    return Row(name, now, best, found[best])


def tune(sizes: Sizes, clock: Clock) -> Iterator[tuple[ConvPaths, Row]]:
    """What was found of each constant, and the table with what has been taken so far."""
    layers, used = Layers(sizes), paths()
    for name in tqdm(CANDIDATES, desc="constants", disable=None):
        row = measure(layers, used, name, sizes.rounds, clock)
        if row.is_better:
            used = replace(used, **{name: row.best})
        yield used, row


def table(rows: Sequence[Row]) -> str:
    """Markdown: a line per measurement."""
    header = ("constant", "in use", "fastest", "its time to that in use", "")
    lines = [
        (row.name, f"{row.used:g}", f"{row.best:g}", str(row.ratio), "taken" if row.is_better else "within the spread")
        for row in rows
    ]
    return markdown(header, lines)


def write(table: ConvPaths, path: Path) -> None:
    """The file for the environment variable, with where it is from; whole or not at all."""
    write_json(path, {SECTION: asdict(table), "environment": environment()})


def main(argv: list[str] | None = None) -> None:
    """Measure all constants, print what was found, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", default=Path("conv_paths.json"), type=Path, metavar="FILE")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: shows that everything runs, says nothing")
    parser.add_argument("--threads", type=int, help="torch's threads, as the model will have (default: torch's choice)")
    parser.add_argument("--clock", choices=("wall", "processor"), default="wall", help="what seconds are")
    parser.add_argument("--rounds", type=int, help="rounds that count")
    options = parser.parse_args(argv)
    if device().type != "cpu":
        parser.error("the constants are a CPU's, but a GPU would be measured: hide it with CUDA_VISIBLE_DEVICES=''")
    if options.threads:
        torch.set_num_threads(options.threads)
    sizes = QUICK if options.quick else FULL
    found = []
    for used, row in tune(replace(sizes, rounds=options.rounds or sizes.rounds), options.clock):
        found.append((used, row))
        tqdm.write(f"{row.name}: {row.best:g} takes {row.ratio} of the time of {row.used:g}, which is in use")
    write(found[-1][0], options.output)
    print(
        f"\n{table([row for _, row in found])}\n\nwritten: {options.output}; use it with {VARIABLE}={options.output}",
        flush=True,
    )


if __name__ == "__main__":
    main()
