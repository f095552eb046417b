"""The formats a trained model can be served in: bytes, metric, difference from the model, latency.

    python -m benchmarks.formats --runs FOLDER_OF_CHECKPOINTS --data FOLDER/mrpc --fill docs/deploy.md

`--runs` has a checkpoint in each folder: classifiers of pairs of sentences, PAD or not.
Every format is written by `export_model` and then run alone: F1 and accuracy on the validation split, in batches of 32;
processor time of one pair of 64 tokens, the median of 20, one thread. Finished rows are skipped.
"""

import argparse
import json
import statistics
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from sklearn.metrics import accuracy_score, f1_score
from torch import Tensor
from transformers import AutoModelForSequenceClassification, AutoTokenizer, PreTrainedModel

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


def measure(run: Run, checkpoint: Path, data: Path) -> Row:
    """Metrics and latency of something that takes a batch by name and gives logits."""
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    rows = pd.read_parquet(next(data.glob("validation-*.parquet")))
    order = rows["sentence1"].str.len().sort_values().index  # batches of like length
    predictions: list[int] = []
    for start in range(0, len(order), 32):
        some = rows.loc[order[start : start + 32]]
        pairs = tokenizer([*some["sentence1"]], [*some["sentence2"]], padding=True, return_tensors="pt")
        predictions += run(**pairs)["logits"].argmax(dim=-1).tolist()
    labels = rows.loc[order, "label"]
    one = tokenizer("film " * 30, "plot " * 31, return_tensors="pt")
    seconds = [seconds_of(lambda: run(**one), "processor") for _ in range(21)][1:]
    metrics = {"f1": float(f1_score(labels, predictions)), "accuracy": float(accuracy_score(labels, predictions))}
    return {**metrics, "seconds": statistics.median(seconds)}


def row(checkpoint: Path, format: str, data: Path, output: Path) -> Row:
    """One model in one format, measured unless it was."""
    done = output / f"{checkpoint.name} {format}.json"
    if done.exists():
        return json.loads(done.read_text())
    model = AutoModelForSequenceClassification.from_pretrained(checkpoint).eval()
    found: Row = {"model": checkpoint.name.replace("_", " "), "format": format}
    if format == MODEL:
        size = sum(file.stat().st_size for file in checkpoint.glob("model*.safetensors"))
        run, told = eager(model), {"file_bytes": size, "max_difference": 0.0}
    else:
        folder = output / checkpoint.name / format.replace(" ", "_")
        told = export_model(model, folder, **FORMATS[format]).to_dict()
        run = (
            OnnxRunner(folder / "model.onnx") if "onnx" in format else torch.export.load(folder / "model.pt2").module()
        )
    found |= {"bytes": told["file_bytes"], "max_difference": told["max_difference"], **measure(run, checkpoint, data)}
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
    header = ("model", "format", "MB", "F1", "accuracy", "max difference", "one pair, ms")
    lines = [
        (
            *(one["model"], one["format"], f"{one['bytes'] / 1e6:.1f}"),
            *(f"{100 * one['f1']:.1f}", f"{100 * one['accuracy']:.1f}"),
            "" if one["format"] == MODEL else f"{one['max_difference']:.0e}",
            f"{one['seconds'] * 1e3:.1f}",
        )
        for one in rows
    ]
    return markdown(header, lines)


def main(argv: list[str] | None = None) -> None:
    """Measure what is missing, print the table, and put it into a document."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", required=True, type=Path, help="folder of checkpoints")
    parser.add_argument("--data", required=True, type=Path, help="the task's parquet files")
    parser.add_argument("--output", default=Path("runs/formats"), type=Path)
    parser.add_argument("--fill", nargs="*", default=[], type=Path, help="documents with a block `formats`")
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    rows = []
    for checkpoint in sorted(path.parent for path in options.runs.glob("*/config.json")):
        for format in (MODEL, *FORMATS):
            rows.append(row(checkpoint, format, options.data, options.output))
            print(table(rows), flush=True)
    for path in options.fill:
        fill(path, {"formats": table(rows)})


if __name__ == "__main__":
    main()
