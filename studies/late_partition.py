"""What is lost when trained copies are partitioned, against other ways to the same bytes.

    python -m studies.late_partition run --work DIR --data_dir FOLDER
    python -m studies.late_partition report

`run` trains the networks that are not in DIR yet, and adds a row for each way on each of them to studies/results/late;
it can be stopped at any time. `report` prints the rows as tables, draws them, and puts the
tables into the documents that --fill names.
"""

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.report import as_document, fill
from padnet_hf import PADNetError
from studies.late.comparison import compare
from studies.late.networks import LANGUAGE, TEXTS, Case
from studies.late.rows import RESULTS, read
from studies.late_report import draw, sections

RATIOS = {True: (0.5, 0.3), False: (0.5, 0.3, 0.15, 0.0)}
"""Of language models, and of classifiers."""


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(
        prog="python -m studies.late_partition",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    running, reporting = commands.add_parser("run"), commands.add_parser("report")
    for command in (running, reporting):
        command.add_argument("--output", type=Path, default=RESULTS, metavar="DIR", help="of the results")
    running.add_argument("--work", type=Path, required=True, metavar="DIR", help="of the trained networks")
    running.add_argument("--data_dir", type=Path, help="with a folder of parquet for each task of GLUE")
    running.add_argument("--tasks", nargs="+", choices=(*TEXTS, *LANGUAGE), default=(*TEXTS, *LANGUAGE), metavar="TASK")
    running.add_argument("--seeds", nargs="+", type=int, default=(1, 2, 3))
    running.add_argument("--nice", type=int, default=0, help="how far other work goes first, 0 to 19")
    reporting.add_argument("--code", help="show this version of the code, not the one with the most rows")
    reporting.add_argument("--fill", nargs="+", type=Path, default=[], metavar="FILE", help="documents")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Run or report."""
    options = parse(argv)
    if options.command == "report":
        rows = list(read(options.output).values())
        found = sections(rows, options.code)
        draw(rows, options.code, options.output / "late_partition.png")
        for path in options.fill:
            fill(path, found, "studies.late_partition")
        print(as_document(found))
        return
    if options.data_dir is None and set(options.tasks) & set(TEXTS):
        raise PADNetError("the tasks of GLUE need --data_dir, a folder with one of parquet for each: add it")
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    os.nice(options.nice)
    for seed in options.seeds:
        for task in options.tasks:
            case = Case(task, seed)
            compare(case, options.work, options.data_dir, RATIOS[case.is_language], options.output)


if __name__ == "__main__":
    try:
        main()
    except PADNetError as error:
        sys.exit(f"error: {error}")
