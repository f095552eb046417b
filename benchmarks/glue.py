"""Dense, fully dynamic and partitioned on GLUE tasks: same seed, data order and steps.

    python -m benchmarks.glue --data_dir FOLDER_WITH_TASKS --output runs/glue_table

Each cell is one run of examples/glue/run_glue.py in a process of its own. Finished cells are skipped, so a run that was
stopped goes on where it was. The table is printed and written as JSON beside the cells.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

from benchmarks.cells import Cell, Row, run_table
from benchmarks.results import table as markdown

SCRIPT = Path(__file__).parents[1] / "examples" / "glue" / "run_glue.py"

METHODS = {
    "dense": [],
    "fully dynamic": ["--use_moe"],
    "PAD element 0.5": ["--use_pad", "--dynamic_ratio", "0.5", "--granularity", "element"],
    "PAD unit 0.5": ["--use_pad", "--dynamic_ratio", "0.5", "--granularity", "unit"],
}

# Learning rate and epochs are one choice for all methods, not tuned on any of them: three epochs, as usual on GLUE, but
# for SST-2, where that takes hours on a CPU and 250 steps stand in.
TASKS = {
    "cola": (["--num_train_epochs", "2", "--max_seq_length", "64"], "eval_matthews_correlation"),
    "mrpc": (["--num_train_epochs", "3", "--max_seq_length", "128"], "eval_f1"),
    "stsb": (["--num_train_epochs", "3", "--max_seq_length", "128"], "eval_spearmanr"),
    "sst2": (["--num_train_epochs", "1", "--max_seq_length", "64", "--max_train_samples", "8000"], "eval_accuracy"),
}

COMMON = [
    *("--do_train", "--do_eval", "--overwrite_output_dir", "--learning_rate", "1e-4"),
    *("--per_device_train_batch_size", "32", "--per_device_eval_batch_size", "64"),
    *("--train_sampling_strategy", "group_by_length", "--seed", "42"),
    *("--save_strategy", "no", "--disable_tqdm", "True"),
]


def cells(tasks: list[str], methods: list[str], data_dir: str, extra: list[str]) -> Iterator[Cell]:
    """Every method on every task; `extra` goes to run_glue.py."""
    for task in tasks:
        arguments, metric = TASKS[task]
        for method in methods:
            yield Cell(
                {"task": task, "method": method},
                ["--task_name", task, "--data_dir", data_dir, *METHODS[method], *arguments, *COMMON, *extra],
                {"value": metric, "train_seconds": "train_runtime"},
                {"metric": metric.removeprefix("eval_")},
            )


def table(rows: list[Row]) -> str:
    """Markdown: a row per method and task."""
    header = ("task", "metric", "method", "value", "parameters", "MB on disk", "processor seconds")
    return markdown(
        header,
        [
            (
                row["task"],
                row["metric"],
                row["method"],
                f"{100 * row['value']:.1f}",
                f"{row['parameters'] / 1e6:.1f}M",
                f"{row['bytes'] / 1e6:.1f}",
                f"{row['processor_seconds']:.0f}",
            )
            for row in rows
        ],
    )


def main(argv: list[str] | None = None) -> None:
    """Run what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_dir", required=True, help="folder with a subfolder of parquet files for each task")
    parser.add_argument("--output", default="runs/glue_table", type=Path)
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    options, extra = parser.parse_known_args(argv)  # what is left goes to run_glue.py
    run_table(SCRIPT, cells(options.tasks, options.methods, options.data_dir, extra), options.output, table)


if __name__ == "__main__":
    main()
