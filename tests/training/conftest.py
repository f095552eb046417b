"""A narrow PAD-BERT, rows for it, and Trainers that leave everything else at its default."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments, set_seed

from padnet_hf import CalibrationBatches, IMPCallback, PADBertForSequenceClassification, PADTrainer, PartitionConfig

Row = dict[str, Tensor]


def small_bert() -> PADBertForSequenceClassification:
    """Fully dynamic, of two layers, the same every time; without dropout."""
    set_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    config = BertConfig(vocab_size=50, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, **sizes)
    return PADBertForSequenceClassification.from_dense(BertForSequenceClassification(config), num_experts=2)


def make_rows(count: int = 10, seed: int = 3) -> list[Row]:
    """Labelled sequences of eight tokens."""
    generator = torch.Generator().manual_seed(seed)
    return [
        {"input_ids": torch.randint(1, 50, (8,), generator=generator), "labels": torch.tensor(number % 2)}
        for number in range(count)
    ]


def collate(rows: list[Row]) -> Row:
    return {name: torch.stack([row[name] for row in rows]) for name in rows[0]}


def imp(rows: int = 3, **fields: Any) -> IMPCallback:
    """Half dynamic, chosen on rows drawn with this seed."""
    config = PartitionConfig(**{"dynamic_ratio": 0.5, "num_rounds": 1} | fields)
    return IMPCallback(CalibrationBatches(make_rows(seed=rows), collate, batch_size=4), config)


@pytest.fixture
def make_trainer(tmp_path: Path) -> Callable[..., Trainer]:
    """A Trainer of two steps on ten rows; `stock` for transformers' own, other names are for TrainingArguments."""

    def make(model: Any = None, *, stock: bool = False, callbacks: Any = (), model_init: Any = None, **options: Any):
        defaults = {"output_dir": str(tmp_path / "out"), "max_steps": 2, "per_device_train_batch_size": 4}
        defaults |= {"per_device_eval_batch_size": 4, "use_cpu": True, "report_to": [], "disable_tqdm": True}
        return (Trainer if stock else PADTrainer)(
            model=model,
            model_init=model_init,
            args=TrainingArguments(**defaults | options),
            data_collator=collate,
            train_dataset=make_rows(),
            eval_dataset=make_rows(),
            callbacks=list(callbacks),
        )

    return make
