"""The formats a trained model can be served in: bytes, metric, difference from the model, latency.

    python -m benchmarks.formats runs/adapters_table/*/full_tuning --data FOLDER/sst2 --fill docs/deploy.md

The checkpoints are classifiers of sentences or of pairs of them, PAD or not, each named by the folder that it is in.
Every format is written by `export_model` and then run alone: accuracy on the validation split, in batches of 32;
processor time of one text of 64 tokens, the median of 20, one thread. Finished rows are skipped.
"""

import argparse
import json
import statistics
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import torch
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
    """Accuracy and latency of something that takes a batch by name and gives logits."""
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    rows = pd.read_parquet(next(data.glob("validation-*.parquet")))
    texts = [name for name in rows if name.startswith("sentence")]
    rows = rows.loc[rows[texts[0]].str.len().sort_values().index]  # batches of like length
    right = 0
    for start in range(0, len(rows), 32):
        some = rows[start : start + 32]
        batch = tokenizer(*([*some[name]] for name in texts), padding=True, return_tensors="pt")
        right += int((run(**batch)["logits"].argmax(dim=-1).numpy() == some["label"]).sum())
    one = tokenizer("film " * 62, return_tensors="pt")
    seconds = [seconds_of(lambda: run(**one), "processor") for _ in range(21)][1:]
    return {"accuracy": right / len(rows), "seconds": statistics.median(seconds)}


def row(checkpoint: Path, format: str, data: Path, output: Path) -> Row:
    """One model in one format, measured unless it was."""
    name = checkpoint.parent.name.replace("_", " ")
    done = output / f"{name} {format}.json"
    if done.exists():
        return json.loads(done.read_text())
    model = AutoModelForSequenceClassification.from_pretrained(checkpoint).eval()
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
    header = ("model", "format", "MB", "accuracy", "max difference", "one text, ms")
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
    parser.add_argument("--fill", nargs="*", default=[], type=Path, help="documents with a block `formats`")
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    rows = []
    for checkpoint in options.checkpoints:
        for format in (MODEL, *FORMATS):
            rows.append(row(checkpoint, format, options.data, options.output))
            print(table(rows), flush=True)
    for path in options.fill:
        fill(path, {"formats": table(rows)})


if __name__ == "__main__":
    main()
