"""Full tuning, LoRA and sparse LoRA on a GLUE task, on top of partitioned and dense networks: same seed and steps.

    python -m benchmarks.adapters --data_dir FOLDER_WITH_TASKS --output runs/adapters_table --fill docs/peft.md

Each cell is one run of examples/glue/run_glue.py in a process of its own. Finished cells are skipped, so a run that was
stopped goes on where it was. The table is printed, written as JSON beside the cells, and put into the documents.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

from benchmarks.cells import Cell, Row, run_table
from benchmarks.report import fill
from benchmarks.results import table as markdown

SCRIPT = Path(__file__).parents[1] / "examples" / "glue" / "run_glue.py"

# The share is reached in every layer, so that all experts' matrices are larger than the ranks.
_PAD = ["--use_pad", "--dynamic_ratio", "0.5", "--imp_scope", "layer", "--imp_batches", "4"]
NETWORKS = {
    "unit 0.5": [*_PAD, "--granularity", "unit"],
    "element 0.5": [*_PAD, "--granularity", "element"],
    "dense": [],
    "fully dynamic": ["--use_moe"],
}

FULL, FULL_RATE, LORA_RATE = "full tuning", "1e-4", "1e-3"


def _lora(rank: int, *options: str) -> list[str]:
    return ["--lora", "--lora_rank", str(rank), "--lora_alpha", str(2 * rank), *options]


def _sparse(rank: int, criterion: str) -> list[str]:
    return _lora(rank, "--adapter_sparsity", "0.8", "--adapter_criterion", criterion)


# A fifth of rank 40 are as many entries as rank 8 has ("Large-Sparse"), a fifth of rank 10 as many as rank 2.
METHODS = {
    FULL: [],
    "LoRA, rank 8": _lora(8),
    "rank 40, 80 % pruned, snip": _sparse(40, "snip"),
    "LoRA, rank 8, attention and router": _lora(8, "--lora_targets", "attention", "router"),
    "LoRA, rank 2": _lora(2),
    "rank 10, 80 % pruned, snip": _sparse(10, "snip"),
    "rank 40, 80 % pruned, magnitude": _sparse(40, "magnitude"),
    "rank 40, 80 % pruned, random": _sparse(40, "random"),
}

_PLAIN = "LoRA, rank 8"
CELLS = [
    *(("unit 0.5", method) for method in (FULL, _PLAIN, "rank 40, 80 % pruned, snip")),
    ("element 0.5", _PLAIN),
    *(("unit 0.5", method) for method in list(METHODS)[3:6]),
    ("element 0.5", FULL),
    *((network, method) for network in ("fully dynamic", "dense") for method in (FULL, _PLAIN)),
    *(("unit 0.5", method) for method in list(METHODS)[6:]),
]
"""Network and method, the more telling ones first. LoRA on an element partition is on attention, routers beside it."""

SEED, OTHER_SEEDS, AGAIN = "42", ("43",), 5
"""The first cells are run with other seeds too, to see how much a row moves by itself."""

# Learning rates are the usual ones, of full tuning and of LoRA, not tuned on any method.
COMMON = [
    *("--do_train", "--do_eval", "--overwrite_output_dir", "--max_seq_length", "64", "--num_train_epochs", "1"),
    *("--per_device_train_batch_size", "32", "--per_device_eval_batch_size", "64"),
    *("--train_sampling_strategy", "group_by_length"),
    *("--save_strategy", "no", "--disable_tqdm", "True"),
]


def cells(data_dir: str, extra: list[str]) -> Iterator[Cell]:
    """Every cell on SST-2, the task with the shortest texts; `extra` goes to run_glue.py."""
    again = [(seed, *cell) for seed in OTHER_SEEDS for cell in CELLS[:AGAIN]]
    for seed, network, method in [*((SEED, *cell) for cell in CELLS), *again]:
        rate = FULL_RATE if method == FULL else LORA_RATE
        task = ["--task_name", "sst2", "--data_dir", data_dir, "--learning_rate", rate, "--seed", seed]
        yield Cell(
            {"seed": seed, "network": network, "method": method},
            [*task, *NETWORKS[network], *METHODS[method], *COMMON, *extra],
            {"value": "eval_accuracy", "trained": "train_parameters", "train_seconds": "train_runtime"},
            {"metric": "accuracy"},
        )


def table(rows: list[Row]) -> str:
    """Markdown: a row per network and method, with the accuracy of every seed."""
    accuracies: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        accuracies.setdefault((row["network"], row["method"]), []).append(f"{100 * row['value']:.1f}")
    header = ("network", "method", "accuracy", "trained parameters", "MB on disk", "processor seconds")
    return markdown(
        header,
        [
            (
                row["network"],
                row["method"],
                ", ".join(accuracies[row["network"], row["method"]]),
                f"{row['trained']:,}",
                f"{row['bytes'] / 1e6:.1f}",
                f"{row['processor_seconds']:.0f}",
            )
            for row in rows
            if row["seed"] == SEED
        ],
    )


def main(argv: list[str] | None = None) -> None:
    """Run what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_dir", required=True, help="folder with a subfolder of parquet files for the task")
    parser.add_argument("--output", default="runs/adapters_table", type=Path)
    parser.add_argument("--fill", nargs="*", default=[], type=Path, help="documents with a block `adapters`")
    options, extra = parser.parse_known_args(argv)  # what is left goes to run_glue.py
    rows = run_table(SCRIPT, cells(options.data_dir, extra), options.output, table)
    for path in options.fill:
        fill(path, {"adapters": table(rows)})


if __name__ == "__main__":
    main()
