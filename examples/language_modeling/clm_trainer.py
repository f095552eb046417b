"""The Trainer on blocks of text: built, and measured by perplexity and bits per byte."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from datasets import IterableDataset
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import (
    EvalPrediction,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    TrainingArguments,
    default_data_collator,
)

from blocks import Blocks
from clm_arguments import MEASURES
from padnet_hf import PADTrainer, PartitionConfig
from padnet_hf.jobs.columns import Columns
from padnet_hf.jobs.rehearsal import ready
from padnet_hf.jobs.run_request import check_measured
from padnet_hf.jobs.trainer_steps import record


@dataclass
class Job:
    """A trainer with what it was built from; `is_as_loaded` if its model is the one at `source`, not changed."""

    trainer: PADTrainer
    name: str
    columns: Columns | None
    source: str | None
    is_as_loaded: bool = False

    @property
    def folder(self) -> str:
        return self.trainer.args.output_dir


def build_trainer(
    training: TrainingArguments,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    sets: Mapping[str, Blocks | IterableDataset],
    partition: PartitionConfig | None,
) -> PADTrainer:
    """The Trainer, ready to train: with `partition` its model is partitioned.

    Raises PADNetError for options that do not suit, before the partition.
    """
    check_measured(training, MEASURES)
    held_out = sets.get("validation")

    def build() -> PADTrainer:
        return PADTrainer(
            model=model,
            args=training,
            data_collator=default_data_collator,
            train_dataset=sets.get("train"),
            eval_dataset=held_out,
            processing_class=tokenizer,
            compute_metrics=None if held_out is None else measure_with(held_out),
            preprocess_logits_for_metrics=nats_of_blocks,
        )

    return ready(build, partition)


def nats_of_blocks(logits: Tensor | tuple[Tensor, ...], labels: Tensor) -> Tensor:
    """(B, S, V) logits and (B, S) tokens -> (B,), minus the logarithm of each block's probability, but its first token.

    So nothing but one number a block is kept, and it is the same whatever the loss in training is, smoothed for
    instance.
    """
    logits = logits[0] if isinstance(logits, tuple) else logits
    rows = zip(logits, labels, strict=True)
    return torch.stack([cross_entropy(row[:-1].float(), ids[1:], reduction="sum") for row, ids in rows])


def measure_with(blocks: Blocks) -> Callable[[EvalPrediction], dict[str, float]]:
    """compute_metrics for the Trainer, over what `nats_of_blocks` gave of these blocks."""

    def measure(outputs: EvalPrediction) -> dict[str, float]:
        nats = float(outputs.predictions.sum(dtype="float64"))
        return text_measures(nats, blocks.scored_tokens, blocks.scored_bytes)

    return measure


def text_measures(nats: float, num_tokens: int, num_bytes: int) -> dict[str, float]:
    """Perplexity per token, and bits per byte of the text, which no tokenizer changes the meaning of."""
    per_token = nats / num_tokens
    perplexity = math.exp(per_token) if per_token < math.log(2) * 1000 else math.inf
    return {"perplexity": perplexity, "bits_per_byte": nats / math.log(2) / num_bytes}


def evaluate(job: Job) -> dict[str, float]:
    """Measure on the held-out blocks."""
    blocks = job.trainer.eval_dataset
    metrics = job.trainer.evaluate()
    metrics |= {"eval_samples": len(blocks), "eval_bytes": blocks.scored_bytes}
    return record(job.trainer, "eval", metrics)
