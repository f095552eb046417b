"""Dense, fully dynamic and partitioned on GLUE tasks: same seed, data order and steps.

    python -m benchmarks.glue --data_dir FOLDER_WITH_TASKS --output runs/glue_table

Each cell is one run of examples/glue/run_glue.py in a process of its own. Finished cells are skipped, so a run that was
stopped goes on where it was. The table is printed and written as JSON beside the cells.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
from pathlib import Path

from safetensors import safe_open

SCRIPT = Path(__file__).parents[1] / "examples" / "glue" / "run_glue.py"

METHODS = {
    "dense": [],
    "fully dynamic": ["--use_moe"],
    "PAD element 0.5": ["--use_pad", "--dynamic_ratio", "0.5", "--granularity", "element"],
    "PAD unit 0.5": ["--use_pad", "--dynamic_ratio", "0.5", "--granularity", "unit"],
}

# Learning rate and epochs are one choice for all methods, not tuned on any of them: three epochs, as usual on GLUE, but
# for SST-2, where that takes hours on a CPU and 500 steps stand in.
TASKS = {
    "cola": (["--num_train_epochs", "3", "--max_seq_length", "64"], "eval_matthews_correlation"),
    "mrpc": (["--num_train_epochs", "3", "--max_seq_length", "128"], "eval_f1"),
    "stsb": (["--num_train_epochs", "3", "--max_seq_length", "128"], "eval_spearmanr"),
    "sst2": (["--num_train_epochs", "1", "--max_seq_length", "64", "--max_train_samples", "16000"], "eval_accuracy"),
}

COMMON = [
    *("--do_train", "--do_eval", "--overwrite_output_dir", "--learning_rate", "1e-4"),
    *("--per_device_train_batch_size", "32", "--per_device_eval_batch_size", "64"),
    *("--train_sampling_strategy", "group_by_length", "--seed", "42"),
    *("--save_strategy", "no", "--disable_tqdm", "True"),
]


def run_cell(task: str, method: str, data_dir: str, folder: Path, extra: list[str]) -> dict[str, float | str]:
    """Train and evaluate one method on one task, unless its result is there already."""
    done = folder / "cell.json"
    if done.exists():
        return json.loads(done.read_text())
    arguments, metric = TASKS[task]
    command = [sys.executable, str(SCRIPT), "--task_name", task, "--data_dir", data_dir, "--output_dir", str(folder)]
    used_before = processor_seconds()
    subprocess.run([*command, *METHODS[method], *arguments, *COMMON, *extra], check=True, env=os.environ)
    results = json.loads((folder / "all_results.json").read_text())
    cell = {
        "task": task,
        "method": method,
        "metric": metric.removeprefix("eval_"),
        "value": results[metric],
        "parameters": stored_parameters(folder),
        "bytes": sum(file.stat().st_size for file in folder.glob("model*.safetensors")),
        "train_seconds": results["train_runtime"],
        "processor_seconds": processor_seconds() - used_before,
    }
    unfinished = done.with_suffix(".tmp")
    unfinished.write_text(json.dumps(cell))
    unfinished.rename(done)
    return cell


def processor_seconds() -> float:
    """Used by finished child processes: unlike the time on the clock, hardly moved by other work on the machine."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def stored_parameters(folder: Path) -> int:
    """Floating-point values in the checkpoint, from its headers."""
    count = 0
    for path in folder.glob("model*.safetensors"):
        with safe_open(path, "pt") as file:
            slices = [file.get_slice(name) for name in file.keys()]  # noqa: SIM118 - not a dict
            for part in slices:
                if part.get_dtype().startswith(("F", "BF")):
                    size = 1
                    for length in part.get_shape():
                        size *= length
                    count += size
    return count


def table(cells: list[dict[str, float | str]]) -> str:
    """Markdown: a row per method and task."""
    heading = "| task | metric | method | value | parameters | MB on disk | processor seconds |"
    rows = [heading, "|---|---|---|---|---|---|---|"]
    rows += [
        f"| {c['task']} | {c['metric']} | {c['method']} | {100 * c['value']:.1f} | {c['parameters'] / 1e6:.1f}M "
        f"| {c['bytes'] / 1e6:.1f} | {c['processor_seconds']:.0f} |"
        for c in cells
    ]
    return "\n".join(rows)


def main(argv: list[str] | None = None) -> None:
    """Run what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_dir", required=True, help="folder with a subfolder of parquet files for each task")
    parser.add_argument("--output", default="runs/glue_table", type=Path)
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    options, extra = parser.parse_known_args(argv)  # what is left goes to run_glue.py
    cells = []
    for task in options.tasks:
        for method in options.methods:
            folder = options.output / task / method.replace(" ", "_")
            cells.append(run_cell(task, method, options.data_dir, folder, extra))
            print(table(cells), flush=True)
    (options.output / "table.json").write_text(json.dumps(cells, indent=2))


if __name__ == "__main__":
    main()
