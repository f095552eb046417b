"""The Trainer on images: built, measured, asked for predictions."""

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table
from transformers import BaseImageProcessor, EvalPrediction, PreTrainedModel, TrainingArguments
from transformers.utils import is_matplotlib_available

from augmentation import Augmentation, AugmentingTrainer
from confusion import draw_confusions
from image_metric import ImageMetric, count_confusions, per_class_accuracy
from last_batch import check_last_batch
from padnet_hf import PartitionConfig, TemperatureCallback
from padnet_hf.hub.whole_files import write_json
from padnet_hf.jobs.columns import Columns
from padnet_hf.jobs.rehearsal import ready
from padnet_hf.jobs.run_request import check_measured
from padnet_hf.jobs.trainer_steps import record
from pixels import PixelCollator, PixelSet, side_of
from vision_model import variant_of

logger = logging.getLogger("run_image_classification")


@dataclass
class Job:
    """A trainer with what it was built from."""

    trainer: AugmentingTrainer
    name: str
    sets: dict[str, PixelSet]
    label_names: tuple[str, ...]
    source: str | None

    @property
    def folder(self) -> str:
        return self.trainer.args.output_dir

    @property
    def columns(self) -> Columns | None:
        """Of the data, which were read; None for files in folders."""
        return next(iter(self.sets.values())).split.columns


def build_trainer(
    training: TrainingArguments,
    model: PreTrainedModel,
    processor: BaseImageProcessor,
    sets: dict[str, PixelSet],
    augmentation: Augmentation,
    partition: PartitionConfig | None,
    temperature: dict[str, float] | None,
) -> AugmentingTrainer:
    """The Trainer, ready to train: with `partition` its model is partitioned.

    Raises PADNetError for options that do not suit, before the partition.
    `temperature` holds the arguments of TemperatureCallback; a sigmoid attention has none unless they are given. With
    None it stays as it is.
    """
    check_measured(training, ("accuracy",))
    if training.do_train:
        check_last_batch(model, training, len(sets["train"]), side_of(processor))
    callbacks = []
    has_default = variant_of(model.config) != "static" and getattr(model.config, "attention", "") == "softmax"
    if temperature or (temperature is not None and has_default):
        callbacks.append(TemperatureCallback(**temperature))

    def build() -> AugmentingTrainer:
        return AugmentingTrainer(
            augmentation=augmentation,
            model=model,
            args=training,
            data_collator=PixelCollator(processor),
            train_dataset=sets.get("train"),
            eval_dataset=sets.get("validation"),
            processing_class=processor,
            compute_metrics=measure,
            callbacks=callbacks,
        )

    return ready(build, partition)


def measure(outputs: EvalPrediction) -> dict[str, float]:
    """compute_metrics for the Trainer."""
    metric = ImageMetric(keep_in_memory=True)
    return metric.compute(predictions=_logits(outputs.predictions).argmax(-1), references=outputs.label_ids)


def _logits(predictions: np.ndarray | tuple[np.ndarray, ...]) -> np.ndarray:
    return predictions[0] if isinstance(predictions, tuple) else predictions


def evaluate(job: Job) -> dict[str, float]:
    """Measure on the validation images, over all and for each class."""
    output = job.trainer.predict(job.sets["validation"], metric_key_prefix="eval")
    metrics = output.metrics | {"eval_samples": len(job.sets["validation"])}
    if job.trainer.is_world_process_zero():
        predictions = _logits(output.predictions).argmax(-1)
        confusions = count_confusions(predictions, output.label_ids, len(job.label_names))
        classes = per_class_accuracy(confusions, job.label_names)
        write_json(Path(job.folder, "per_class_accuracy.json"), classes)
        print_classes(classes)
        if is_matplotlib_available():
            draw_confusions(confusions, job.label_names, Path(job.folder, "confusion_matrix.png"))
        else:
            logger.warning("no confusion_matrix.png: drawing needs matplotlib (pip install matplotlib)")
    return record(job.trainer, "eval", metrics)


def print_classes(classes: dict[str, dict[str, float | int | None]]) -> None:
    """Print the accuracy of each class."""
    table = Table("class", title="Accuracy of each class", title_justify="left", box=None)
    table.add_column("accuracy", justify="right")
    table.add_column("images", justify="right")
    for name, values in classes.items():
        accuracy = values["accuracy"]
        table.add_row(name, "-" if accuracy is None else f"{accuracy:.4f}", f"{values['images']:,}")
    Console(width=100, highlight=False, markup=False, emoji=False).print(table)  # a class may be called `:x:`


def predict(job: Job) -> dict[str, float]:
    """Write `predict_results_<name>.txt`, and measure where the labels are known."""
    images = job.sets["test"]
    output = job.trainer.predict(images, metric_key_prefix="predict")
    if job.trainer.is_world_process_zero():
        answers = (job.label_names[number] for number in _logits(output.predictions).argmax(-1))
        lines = [f"{images.split.describe(index)}\t{answer}" for index, answer in enumerate(answers)]
        path = Path(job.folder, f"predict_results_{job.name}.txt")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(["image\tprediction", *lines]) + "\n", encoding="utf-8")
    return record(job.trainer, "predict", output.metrics | {"predict_samples": len(images)})
