"""Static, fully dynamic and partitioned on CIFAR-10 and Fashion-MNIST: same seed, data order and steps.

    python -m benchmarks.vision --data_dir FOLDER_WITH_CIFAR10_AND_FASHION_MNIST --output runs/vision_table

Each cell is one run of examples/vision/run_image_classification.py in a process of its own. Finished cells are
skipped, so a run that was stopped goes on where it was. The table is printed and written as JSON beside the cells. All
training images are used, and the test images to evaluate.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

from benchmarks.cells import Cell, Row, run_table
from benchmarks.results import table as markdown

SCRIPT = Path(__file__).parents[1] / "examples" / "vision" / "run_image_classification.py"

_KERNELS = ["--num_kernels", "4", "--reduction", "4"]  # the usual 16 would leave 16 channels one hidden channel
METHODS = {
    "static": [],
    "fully dynamic": ["--use_dynamic", *_KERNELS],
    "PAD element 0.3": ["--use_pad", "--dynamic_ratio", "0.3", "--granularity", "element", *_KERNELS],
    "PAD unit 0.3": ["--use_pad", "--dynamic_ratio", "0.3", "--granularity", "unit", *_KERNELS],
}

# Fashion-MNIST's images are grey, and of 28 x 28.
DATA = {"cifar10": [], "fashion_mnist": ["--convert_channels", "--crop_padding", "2"]}

# One choice for all methods, not tuned on any of them: a ResNet of three basic blocks behind a stem of stride 2, and so
# few epochs that a cell takes about five minutes on one thread of a CPU.
COMMON = [
    *("--do_train", "--do_eval", "--overwrite_output_dir", "--num_train_epochs", "4"),
    *("--hidden_sizes", "16", "32", "64", "--depths", "1", "1", "1", "--layer_type", "basic"),
    *("--stem_kernel_size", "3", "--stem_stride", "2", "--stem_pool", "False"),
    *("--learning_rate", "3e-3", "--lr_scheduler_type", "cosine", "--weight_decay", "0.01"),
    *("--per_device_train_batch_size", "128", "--per_device_eval_batch_size", "256", "--seed", "42"),
    *("--save_strategy", "no", "--disable_tqdm", "True"),
]

MEASURES = {
    "accuracy": "eval_accuracy",
    "train_images_per_second": "train_samples_per_second",
    "eval_images_per_second": "eval_samples_per_second",
}


def cells(names: list[str], methods: list[str], data_dir: str, extra: list[str]) -> Iterator[Cell]:
    """Every method on every data set; `extra` goes to run_image_classification.py."""
    for name in names:
        for method in methods:
            arguments = ["--data_dir", str(Path(data_dir, name)), *METHODS[method], *COMMON, *DATA[name], *extra]
            yield Cell({"data": name, "method": method}, arguments, MEASURES)


def table(rows: list[Row]) -> str:
    """Markdown: a row per method and data set."""
    header = (
        "data", "method", "accuracy", "parameters", "MB on disk", "training images/s", "inference images/s",
        "processor seconds",
    )  # fmt: skip
    return markdown(
        header,
        [
            (
                row["data"],
                row["method"],
                f"{100 * row['accuracy']:.1f}",
                f"{row['parameters'] / 1e6:.3f}M",
                f"{row['bytes'] / 1e6:.3f}",
                f"{row['train_images_per_second']:.0f}",
                f"{row['eval_images_per_second']:.0f}",
                f"{row['processor_seconds']:.0f}",
            )
            for row in rows
        ],
    )


def main(argv: list[str] | None = None) -> None:
    """Run what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_dir", required=True, help="folder with a subfolder of parquet files for each data set")
    parser.add_argument("--output", default="runs/vision_table", type=Path)
    parser.add_argument("--data", nargs="+", choices=DATA, default=list(DATA))
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    options, extra = parser.parse_known_args(argv)  # what is left goes to run_image_classification.py
    run_table(SCRIPT, cells(options.data, options.methods, options.data_dir, extra), options.output, table)


if __name__ == "__main__":
    main()
