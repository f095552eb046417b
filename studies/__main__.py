"""Does partition help? Task metrics of dense, dynamic, partitioned and pruned networks, side by side.

    python -m studies run search headline --data_dir FOLDER     choose learning rates, then the most important grid
    python -m studies run sizes --tasks mrpc --jobs 2           another grid, on one task, two cells at a time
    python -m studies list headline                             what is done and what is missing
    python -m studies confirm CODE --data_dir FOLDER            does the present code give the results of an earlier one
    python -m studies report                                    the results as Markdown
    python -m studies report --fill docs/study.md               put into a document, pictures beside the results

FOLDER holds a folder of parquet files for every task (mrpc, cola, ...). A finished cell is
one line in OUTPUT and is not run again; what was stopped, in whatever way, goes on with the same command.
docs/study.md says what is compared, and how.
"""

import argparse
import os
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from benchmarks.device import device
from benchmarks.report import as_document, fill
from padnet_hf import PADNetError
from studies.cell.code_version import code_version
from studies.cell.settings import Cell
from studies.cell.tasks import TASKS
from studies.grids import FAMILIES, GRIDS, TEXTS, expand
from studies.grounds import GROUNDS
from studies.pictures import draw_all
from studies.report import board_of, sections
from studies.results import RESULTS, Row, metric, read
from studies.running import run_missing
from studies.versions import cheapest_of_each_kind, differing, finished, same, shared


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m studies", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("run", "list", "confirm", "report"):
        command = commands.add_parser(name)
        if name in ("run", "list"):
            command.add_argument("grids", nargs="+", choices=("search", *GRIDS), metavar="GRID")
            command.add_argument(
                "--seeds", nargs="+", type=int, help="default: 1 2 3 for headline and router, 1 for others"
            )
            command.add_argument("--tasks", nargs="+", choices=TASKS, default=TEXTS, metavar="TASK")
            command.add_argument(
                "--only", nargs="+", default=(), metavar="WORDS", help="cells that `list` shows with all of these"
            )
        if name == "confirm":
            command.add_argument("code", help="an earlier version of the code (its first digits)")
        else:
            command.add_argument("--ground", choices=GROUNDS, default="short", help="short: for a CPU; full: for a GPU")
        command.add_argument("--output", type=Path, default=RESULTS, metavar="DIR", help="of the results")
        if name == "report":
            command.add_argument("--code", help="show this version of the code (its first digits), not the present one")
            command.add_argument("--fill", nargs="+", type=Path, default=[], metavar="FILE", help="documents")
        if name in ("run", "confirm"):
            command.add_argument("--data_dir", type=Path, required=True, help="with a folder of parquet for each task")
            command.add_argument("--jobs", type=int, default=1, help="cells at a time, each with one thread")
            command.add_argument("--nice", type=int, default=0, help="how far other work goes first, 0 to 19")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Run, list, confirm or report."""
    options = parse(argv)
    {"run": run, "list": show, "confirm": confirm, "report": report}[options.command](options)


def run(options: argparse.Namespace) -> None:
    """Run what is missing, grid by grid."""
    os.nice(options.nice)
    failed = []
    for grid in options.grids:
        cells = cells_of(grid, options)
        failed += run_missing(cells, options.data_dir, options.output, options.jobs, grid)
    if failed:
        sys.exit(f"{len(failed)} cells failed; the same command tries them again")


def show(options: argparse.Namespace) -> None:
    """Say of every cell of the grids whether it is done."""
    done = finished(options.output, code_version())
    for grid in options.grids:
        for cell in cells_of(grid, options):
            print(f"{'done   ' if cell in done else 'missing'} {grid}: {cell.title()}")


def confirm(options: argparse.Namespace) -> None:
    """Run a cell of each kind again, so that the results of an earlier version count for the present one, or do not."""
    os.nice(options.nice)
    rows = read(options.output)
    earlier, code = version_shown(rows, options.code), code_version()
    of_earlier, here = [row for row in rows if row.code == earlier], device().type
    cells = cheapest_of_each_kind([row for row in of_earlier if row.values["device"] == here])
    if len(cells) < len(cheapest_of_each_kind(of_earlier)):
        raise PADNetError(
            f"not every kind of cell of {earlier} was run on {here!r}, and devices are not held against each other: "
            "confirm it where it was run"
        )
    run_missing(cells, options.data_dir, options.output, options.jobs, "confirm")
    rows = read(options.output)
    if not set(cells) <= {row.cell for row in rows if row.code == code}:
        sys.exit("not all cells are there, failed or still run by another process; the same command tries them again")
    before, after = ({row.cell: row for row in rows if row.code == one} for one in (earlier, code))
    for cell in shared(before, after):
        names = differing(before[cell], after[cell])
        print(f"{'differs in ' + ', '.join(names) if names else 'equal'}: {cell.title()}")
    if earlier not in same(rows, code):
        sys.exit(f"the code {code} gives other results than {earlier}: run its cells again")
    print(f"the code {code} gives the results of {earlier}: its rows count")


def report(options: argparse.Namespace) -> None:
    """Print the results, draw them, and put them into documents."""
    rows = read(options.output)
    shown = same(rows, version_shown(rows, options.code))
    found = {}
    for family, tasks in FAMILIES.items():
        of_family = [row for row in rows if row.cell.task in tasks]
        board = board_of([row for row in of_family if row.code in shown], options.ground, tasks)
        if board.rows:
            name = f"{options.ground}_{family}"
            found |= sections(board, name, [row for row in of_family if row.code not in shown])
            draw_all(board, options.output, name)
    for path in options.fill:
        fill(path, found, "studies")
    print(as_document(found))


def version_shown(rows: Sequence[Row], asked: str | None) -> str:
    """The version of the code to report: the one asked for, or the present one. Raises PADNetError if it has no row."""
    known = Counter(row.code for row in rows)
    start = asked or code_version()
    fitting = [code for code in known if code.startswith(start)]
    if len(fitting) != 1:
        counts = ", ".join(f"{code} ({count})" for code, count in known.most_common()) or "none at all"
        raise PADNetError(
            f"there are results of {len(fitting)} versions of the code {start}, and versions never mix: choose one of "
            f"these with --code, or run it again with the present code. Version (cells): {counts}"
        )
    return fitting[0]


def cells_of(grid: str, options: argparse.Namespace) -> list[Cell]:
    """The cells of a grid as the options limit it."""
    rows = finished(options.output, code_version())
    values = {cell: metric(row) for cell, row in rows.items()}
    cells = expand(grid, GROUNDS[options.ground], options.tasks, options.seeds, values)
    found = [cell for cell in cells if all(words in cell.title() for words in options.only)]
    if cells and not found:
        asked = ", ".join(map(repr, options.only))
        raise PADNetError(f"no cell of the grid {grid} has {asked}: `list {grid}` shows what they have")
    return found


if __name__ == "__main__":
    try:
        main()
    except PADNetError as error:
        sys.exit(f"error: {error}")
