"""One cell, run in this process by the example's own functions."""

import sys
import tempfile
import time
from importlib import import_module
from pathlib import Path
from typing import Any

from torch import nn
from transformers import Trainer, TrainingArguments

import studies.cell.criteria  # noqa: F401 (registers its criteria)
from padnet_hf.jobs.partition_options import partition_config
from padnet_hf.jobs.trainer_steps import train
from padnet_hf.method.layer import pad_weights
from padnet_hf.method.report import report
from padnet_hf.training.calibration import CalibrationBatches
from studies.cell.arguments import arguments, fewer_copies
from studies.cell.data_order import fix_data_order
from studies.cell.experts import counted_usage, keep_most_used
from studies.cell.methods import after_partition, set_learning_rates, stored_size
from studies.cell.settings import Cell
from studies.cell.tasks import TASKS

_FOLDERS = {"run_glue": "glue", "run_image_classification": "vision"}


def run(cell: Cell, data_dir: Path) -> dict[str, Any]:
    """Train and measure: metrics, sizes, and what became of the dynamic layers."""
    started = time.process_time()
    script = _script(cell)
    with tempfile.TemporaryDirectory() as folder:
        job, order = _trained(script, cell, data_dir, Path(folder))
        trainer = job.trainer
        if cell.method == "experts_used":
            _drop_experts(trainer, cell)
        with counted_usage(trainer.model) as usage:
            metrics = script.evaluate(job)
        size = stored_size(trainer.model, cell)
    history = trainer.state.log_history
    measured = [_measures(entry) for entry in history if "eval_loss" in entry]
    return {
        "metrics": _measures(metrics),
        "metrics_by_epoch": measured[:-1],
        "train_losses": [entry["loss"] for entry in history if "loss" in entry],
        "parameters": size.parameters,
        "bytes": size.bytes,
        "layer_ratios": {layer.name: layer.dynamic_ratio for layer in report(trainer.model).layers},
        "usage": {name: (sums / sums.sum()).tolist() for name, sums in usage.items()},
        "scales": _scales(trainer.model),
        "data_order": order,
        "device": trainer.args.device.type,
        "processor_seconds": time.process_time() - started,
    }


def _script(cell: Cell) -> Any:
    """The example's module."""
    name = TASKS[cell.task].script
    sys.path.insert(0, str(Path(__file__).parents[2] / "examples" / _FOLDERS[name]))
    return import_module(name)


def _trained(script: Any, cell: Cell, data_dir: Path, folder: Path) -> tuple[Any, str]:
    """The example's job when training is over, and the hash of the data in the order in which it came."""
    options = []
    if cell.warm_share:
        warm = arguments(cell, data_dir, folder / "warm", warm=True)
        train(_prepared(script, warm, cell)[0].trainer, None)
        options = ["--model_name_or_path", str(folder / "warm")]
    job, order = _prepared(script, [*arguments(cell, data_dir, folder / "run"), *options], cell)
    after_partition(job.trainer.model, cell)
    set_learning_rates(job.trainer, cell)
    train(job.trainer, None)
    return job, order.hexdigest()


def _prepared(script: Any, words: list[str], cell: Cell) -> tuple[Any, Any]:
    parsed = script.parse(words)
    *_, pad, training = parsed
    job = script.prepare(parsed, partition_config(pad, training.seed), None)
    return job, fix_data_order(job.trainer, cell.seed)


def _drop_experts(trainer: Trainer, cell: Cell) -> None:
    training: TrainingArguments = trainer.args
    batches = CalibrationBatches(
        trainer.train_dataset, trainer.data_collator, batch_size=training.train_batch_size, seed=cell.seed
    )
    keep_most_used(trainer.model, batches, fewer_copies(TASKS[cell.task].copies[1], cell.ratio))


def _measures(metrics: dict[str, float]) -> dict[str, float]:
    """Those of the validation data, without prefix and without times."""
    found = {name.removeprefix("eval_"): value for name, value in metrics.items() if name.startswith("eval_")}
    return {name: value for name, value in found.items() if not name.endswith(("runtime", "per_second", "samples"))}


def _scales(model: nn.Module) -> dict[str, tuple[float, float]]:
    """lambda_d and lambda_s of weights that have both parts, by name."""
    weights = {name: weight for name, weight in pad_weights(model).items() if weight.phi is not None}
    return {name: tuple(scale.item() for scale in weight.scales()) for name, weight in weights.items()}
