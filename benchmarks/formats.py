"""The formats a trained model can be served in: bytes, accuracy, difference from the model, latency.

    python -m benchmarks.formats runs/adapters_table/42/*/full_tuning --data FOLDER/sst2 --fill docs/deploy.md

The checkpoints are classifiers of sentences, of pairs of them or of images, PAD or not, each named by the folder it is
in. Every format is written by `export_model` and then run alone: accuracy on the validation split (test, if there is
none), in batches of 32; processor time of the first example, the median of 20, one thread. Finished rows are skipped.
"""

import argparse
import json
import statistics
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset, Image
from torch import Tensor
from transformers import (
    AutoImageProcessor,
    AutoModelForImageClassification,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
)

import padnet_hf  # noqa: F401 - registers the PAD models
from benchmarks.device import seconds_of
from benchmarks.report import fill
from benchmarks.results import table as markdown
from padnet_hf.export.exporting import export_model
from padnet_hf.export.onnx_file import OnnxRunner

MODEL = "safetensors"
FORMATS: dict[str, dict[str, str]] = {
    "onnx": {"format": "onnx"},
    "onnx int8": {"format": "onnx", "quantize": "int8"},
    "torch.export": {"format": "torch"},
}
Run = Callable[..., Mapping[str, Tensor]]
Row = dict[str, Any]


def opened(checkpoint: Path, data: Path) -> tuple[PreTrainedModel, Dataset, Callable[[Row], Row]]:
    """The classifier in evaluation mode, labelled examples not trained on, and what makes inputs of a batch of them."""
    files = [*data.glob("validation-*.parquet"), *data.glob("test-*.parquet")]
    rows = Dataset.from_parquet(str(files[0]))
    columns = [name for name, feature in rows.features.items() if isinstance(feature, Image)]
    if columns:
        kind, prepare, options = AutoModelForImageClassification, AutoImageProcessor.from_pretrained(checkpoint), {}
    else:
        columns = [name for name in rows.column_names if name.startswith("sentence")]
        kind, prepare = AutoModelForSequenceClassification, AutoTokenizer.from_pretrained(checkpoint)
        options = {"padding": True}

    def inputs(batch: Row) -> Row:
        return prepare(*(batch[name] for name in columns), **options, return_tensors="pt")

    return kind.from_pretrained(checkpoint).eval(), rows, inputs


def measure(run: Run, rows: Dataset, inputs: Callable[[Row], Row]) -> Row:
    """Accuracy and latency of something that takes a batch by name and gives logits."""
    right = 0
    for batch in rows.iter(32):
        right += int((run(**inputs(batch))["logits"].argmax(dim=-1) == torch.tensor(batch["label"])).sum())
    one = inputs(rows[:1])
    seconds = [seconds_of(lambda: run(**one), "processor") for _ in range(21)][1:]
    return {"accuracy": right / len(rows), "seconds": statistics.median(seconds)}


def row(checkpoint: Path, format: str, data: Path, output: Path) -> Row:
    """One model in one format, measured unless it was."""
    name = checkpoint.parent.name.replace("_", " ")
    done = output / f"{name} {format}.json"
    if done.exists():
        return json.loads(done.read_text())
    model, rows, inputs = opened(checkpoint, data)
    found: Row = {"model": name, "format": format}
    if format == MODEL:
        size = sum(file.stat().st_size for file in checkpoint.glob("model*.safetensors"))
        run, told = eager(model), {"file_bytes": size, "max_difference": 0.0}
    else:
        folder = output / name / format
        told = export_model(model, folder, **FORMATS[format]).to_dict()
        run = (
            OnnxRunner(folder / "model.onnx") if "onnx" in format else torch.export.load(folder / "model.pt2").module()
        )
    found |= {"bytes": told["file_bytes"], "max_difference": told["max_difference"], **measure(run, rows, inputs)}
    done.parent.mkdir(parents=True, exist_ok=True)
    done.write_text(json.dumps(found))
    return found


def eager(model: PreTrainedModel) -> Run:
    """The model itself."""

    def run(**inputs: Tensor) -> Mapping[str, Tensor]:
        with torch.no_grad():
            return model(**inputs)

    return run


def table(rows: list[Row]) -> str:
    """Markdown: a row per model and format."""
    header = ("model", "format", "MB", "accuracy", "max difference", "one example, ms")
    lines = [
        (
            one["model"],
            one["format"],
            f"{one['bytes'] / 1e6:.1f}",
            f"{100 * one['accuracy']:.1f}",
            "" if one["format"] == MODEL else f"{one['max_difference']:.0e}",
            f"{one['seconds'] * 1e3:.1f}",
        )
        for one in rows
    ]
    return markdown(header, lines)


def main(argv: list[str] | None = None) -> None:
    """Measure what is missing, print the table, and put it into a document."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoints", nargs="+", type=Path, help="folders of checkpoints")
    parser.add_argument("--data", required=True, type=Path, help="the task's parquet files")
    parser.add_argument("--output", default=Path("runs/formats"), type=Path)
    parser.add_argument("--fill", nargs="*", default=[], type=Path, help="documents with a block `formats_TASK`")
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    rows = []
    for checkpoint in options.checkpoints:
        for format in (MODEL, *FORMATS):
            rows.append(row(checkpoint, format, options.data, options.output))
            print(table(rows), flush=True)
    for path in options.fill:
        fill(path, {f"formats_{options.data.name}": table(rows)})


if __name__ == "__main__":
    main()
