"""What is lost when trained copies are partitioned: one model, several ways, without any training afterwards.

    python -m studies.trained MODEL --data TRAIN --validation VALIDATION

MODEL is a fully dynamic classifier of texts that was trained (`run_glue.py --use_moe`), both files as for `padnet
partition`. Printed is a row per way as it is measured: accuracy and loss on the validation rows, and the bytes that the
model takes, the fully dynamic one being 1.
"""

import argparse
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from transformers import AutoModelForSequenceClassification, PreTrainedModel

from padnet_hf import PartitionConfig, partition
from padnet_hf.cli.calibration_data import calibration_batches
from padnet_hf.hub.inspection import read_config
from padnet_hf.method.relatedness import advice, relatedness
from padnet_hf.method.scoring import Batch

RATIOS = (0.3, 0.15)
MANY = 1_000_000
"""Batches: all that there are."""


def ways(ratios: Sequence[float]) -> Iterator[dict[str, Any]]:
    """Fields of PartitionConfig: nothing dynamic by static values; then by criteria at each ratio."""
    for values in ("mean", "usage", "fisher"):
        yield {"dynamic_ratio": 0.0, "static_values": values}
    for ratio in ratios:
        yield {"dynamic_ratio": ratio, "criterion": "random", "static_values": "mean"}
        yield {"dynamic_ratio": ratio, "criterion": "snip", "static_values": "mean"}
        for granularity in ("element", "unit"):
            yield {"dynamic_ratio": ratio, "granularity": granularity, "criterion": "fisher", "static_values": "fisher"}
        own = {"masks": "per_copy", "criterion": "fisher"}
        yield {"dynamic_ratio": ratio, **own, "static_values": "fisher"}
        yield {"dynamic_ratio": ratio, "granularity": "unit", **own, "static_values": "none"}


@torch.no_grad()
def measure(model: PreTrainedModel, batches: Sequence[Batch]) -> tuple[float, float]:
    """Accuracy in per cent, and mean loss."""
    model.eval()
    right, loss, count = 0, 0.0, 0
    for batch in batches:
        output, size = model(**batch), len(batch["labels"])
        right += int((output.logits.argmax(dim=-1) == batch["labels"]).sum())
        loss += float(output.loss) * size
        count += size
    return 100 * right / count, loss / count


def main(argv: Sequence[str] | None = None) -> None:
    """Measure every way, and print it."""
    parser = argparse.ArgumentParser(
        prog="python -m studies.trained", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", help="folder of a fully dynamic classifier of texts")
    parser.add_argument("--data", required=True, help="training rows, to calibrate on")
    parser.add_argument("--validation", required=True, help="rows to measure on")
    parser.add_argument("--ratios", type=float, nargs="+", default=RATIOS, help="dynamic shares")
    parser.add_argument("--batches", type=int, default=16, help="of 32 rows, to calibrate on")
    parser.add_argument("--max_length", type=int, default=64, help="tokens of a text at most")
    options = parser.parse_args(argv)

    def batches_of(data: str, count: int) -> list[Batch]:
        drawn = PartitionConfig(num_batches=count)
        config = read_config(options.model)
        return list(calibration_batches(data, options.model, config, drawn, max_length=options.max_length))

    calibration, validation = batches_of(options.data, options.batches), batches_of(options.validation, MANY)
    model = AutoModelForSequenceClassification.from_pretrained(options.model)
    print(advice(relatedness(model), model.config.num_experts))
    whole = model.partition_report().current.bytes
    print(f"\n{'':<48}{'accuracy':>10}{'loss':>10}{'bytes':>8}")
    _print("fully dynamic", model, validation, whole)
    for fields in ways(options.ratios):
        model = AutoModelForSequenceClassification.from_pretrained(options.model)
        partition(model, calibration, PartitionConfig(num_batches=options.batches, **fields), progress=False)
        _print(", ".join(map(str, fields.values())), model, validation, whole)


def _print(name: str, model: PreTrainedModel, batches: Sequence[Batch], whole: int) -> None:
    accuracy, loss = measure(model, batches)
    share = model.partition_report().current.bytes / whole
    print(f"{name:<48}{accuracy:>10.1f}{loss:>10.4f}{share:>8.2f}", flush=True)


if __name__ == "__main__":
    main()
