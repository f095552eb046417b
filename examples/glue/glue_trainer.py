"""The Trainer on the task's data: built, trained, measured, asked for predictions."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from datasets import Dataset
from transformers import (
    DataCollatorWithPadding,
    EvalPrediction,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    TrainingArguments,
)

from glue_data import TextData
from glue_metric import MEASURES, GlueMetric
from padnet_hf import PADTrainer, PartitionConfig
from padnet_hf.jobs.rehearsal import ready
from padnet_hf.jobs.run_request import check_measured
from padnet_hf.jobs.trainer_steps import record


@dataclass
class Job:
    """A trainer with what it was built from; `is_as_loaded` if its model is the one at `source`, not changed."""

    trainer: PADTrainer
    data: TextData
    sets: dict[str, Dataset]
    label_names: tuple[str, ...]
    source: str
    is_as_loaded: bool = False

    @property
    def folder(self) -> str:
        return self.trainer.args.output_dir


def build_trainer(
    training: TrainingArguments,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    sets: dict[str, Dataset],
    data: TextData,
    label_names: tuple[str, ...],
    partition: PartitionConfig | None,
) -> PADTrainer:
    """The Trainer, ready to train: with `partition` its model is partitioned.

    Raises PADNetError for options that do not suit, before the partition.
    """
    collator = DataCollatorWithPadding(tokenizer, pad_to_multiple_of=8 if training.fp16 or training.bf16 else None)
    measures = MEASURES[data.metric]
    combined = ("combined_score",) if len(measures) > 1 else ()
    check_measured(training, (*measures, *combined), smooths=bool(label_names))

    def build() -> PADTrainer:
        return PADTrainer(
            model=model,
            args=training,
            data_collator=collator,
            train_dataset=sets.get("train"),
            eval_dataset=sets.get(data.eval_splits[0]),
            processing_class=tokenizer,
            compute_metrics=measure_with(data, label_names),
        )

    return ready(build, partition)


def measure_with(data: TextData, label_names: tuple[str, ...]) -> Callable[[EvalPrediction], dict[str, float]]:
    """compute_metrics for the Trainer: the task's measures, and their mean if there are several.

    A model may number the labels in its own way (`label_names`); F1 needs the task's.
    """
    metric = GlueMetric(config_name=data.metric, keep_in_memory=True)
    task_names = data.label_names if set(data.label_names or ()) == set(label_names) else label_names
    numbers = np.array([task_names.index(name) for name in label_names])

    def measure(outputs: EvalPrediction) -> dict[str, float]:
        logits = outputs.predictions[0] if isinstance(outputs.predictions, tuple) else outputs.predictions
        if label_names:
            values = metric.compute(predictions=numbers[logits.argmax(-1)], references=numbers[outputs.label_ids])
        else:
            values = metric.compute(predictions=logits.reshape(-1), references=outputs.label_ids)
        return values | ({"combined_score": float(np.mean(list(values.values())))} if len(values) > 1 else {})

    return measure


def evaluate(job: Job) -> dict[str, float]:
    """Measure on every validation split; MNLI's second one under `eval_mm`."""
    metrics = {}
    for prefix, split in zip(("eval", "eval_mm"), job.data.eval_splits, strict=False):
        metrics |= job.trainer.evaluate(job.sets[split], metric_key_prefix=prefix)
        metrics[f"{prefix}_samples"] = len(job.sets[split])
    return record(job.trainer, "eval", metrics)


def predict(job: Job) -> dict[str, float]:
    """Write `predict_results_<task>.txt` for every test split, and measure where the labels are known."""
    metrics = {}
    for suffix, split in zip(("", "-mm"), job.data.test_splits, strict=False):
        prefix = "predict" + suffix.replace("-", "_")
        output = job.trainer.predict(job.sets[split], metric_key_prefix=prefix)
        metrics |= output.metrics | {f"{prefix}_samples": len(job.sets[split])}
        logits = output.predictions[0] if isinstance(output.predictions, tuple) else output.predictions
        if job.label_names:
            values = [job.label_names[number] for number in logits.argmax(-1)]
        else:
            values = [f"{value:.3f}" for value in logits.reshape(-1)]
        if job.trainer.is_world_process_zero():
            lines = ["index\tprediction", *(f"{index}\t{value}" for index, value in enumerate(values))]
            path = Path(job.folder, f"predict_results_{job.data.name}{suffix}.txt")
            path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return record(job.trainer, "predict", metrics)
