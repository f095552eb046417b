"""Speed and memory, side by side.

    python -m benchmarks                                   every bench; about an hour on two quiet cores
    python -m benchmarks experts imp                       these
    python -m benchmarks pad_bert --parts "training"       some parts of one
    python -m benchmarks --resume                          what an interrupted run has left
    python -m benchmarks --quick                           tiny sizes: shows that everything runs, says nothing
    python -m benchmarks --threads 1 --clock processor     on a machine that others use too
    python -m benchmarks gpu --minutes 8                   on a GPU, most important first, until the time is used up
    python -m benchmarks report                            the results as Markdown
    python -m benchmarks report --fill README.md docs/*.md                   put into documents between their marks

All variants of a thing are measured in the same rounds, once per round in random order, in one process or in processes
that alternate; given are medians over rounds, and quartiles of the ratios within rounds. See docs/performance.md.
"""

import argparse
import math
import time
from pathlib import Path

import torch

from benchmarks.choice import draw_choice
from benchmarks.report import as_document, fill, sections
from benchmarks.results import RESULTS
from benchmarks.suite import BENCHES, Options, run_bench, runs_here


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help=f"{', '.join(BENCHES)} (default: all that can be run here), or report by itself",
    )
    parser.add_argument("--quick", action="store_true", help="tiny sizes, no targets")
    parser.add_argument("--threads", type=int, help="torch's threads (default: torch's own choice)")
    parser.add_argument("--clock", choices=("wall", "processor"), default="wall", help="what a CPU's seconds are")
    parser.add_argument("--rounds", type=int, help="rounds that count (default: as the bench says)")
    parser.add_argument("--parts", nargs="+", default=[], help="only parts that begin so")
    parser.add_argument("--minutes", type=float, default=math.inf, help="after which nothing more is started")
    parser.add_argument("--resume", action="store_true", help="keep what DIR has from the same machine and versions")
    parser.add_argument("--output", type=Path, default=RESULTS, metavar="DIR", help="for the JSON and the pictures")
    parser.add_argument("--fill", nargs="+", type=Path, default=[], metavar="FILE", help="of report: documents")
    options = parser.parse_args(argv)
    if unknown := set(options.names) - {*BENCHES, "report"}:
        parser.error(f"there is no bench {sorted(unknown)[0]!r}; choose from {', '.join(BENCHES)}, or report")
    if "report" in options.names and len(options.names) > 1:
        parser.error("report is a command by itself: it prints what is written already")
    for name in set(options.names) & set(BENCHES):
        if not runs_here(name, options.quick):
            parser.error(
                f"the bench {name} needs a CUDA device, and torch {torch.__version__} finds none: run it where there "
                "is one, or with --quick, in tiny sizes on the CPU"
            )
    if not options.minutes > 0:
        parser.error(f"--minutes is {options.minutes:g}, but must be a number above 0")
    return options


def main(argv: list[str] | None = None) -> None:
    """Run the benches asked for, or print the report."""
    given = parse(argv)
    if given.names == ["report"]:
        found = sections(given.output)
        for path in given.fill:
            fill(path, found)
        if given.fill:
            draw_choice(given.output)
        print(as_document(found))
        return
    if given.threads:
        torch.set_num_threads(given.threads)
    deadline = time.monotonic() + 60 * given.minutes
    options = Options(given.quick, given.clock, given.rounds, given.output, tuple(given.parts), given.resume, deadline)
    for name in given.names or (name for name in BENCHES if runs_here(name, given.quick)):
        run_bench(name, options)


if __name__ == "__main__":
    main()
