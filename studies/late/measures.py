"""Batches of a case, what a model is worth on them, and a short training afterwards.

Axis letters: B batch, S sequence.
"""

import json
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoTokenizer, PreTrainedModel, get_linear_schedule_with_warmup

from padnet_hf import PartitionConfig
from padnet_hf.cli.calibration_data import calibration_batches
from padnet_hf.hub.inspection import read_config
from padnet_hf.method.scoring import Batch
from studies.late.networks import EXAMPLES, Case

CALIBRATION = 8
"""Batches that statistics and partitions see."""

_BLOCK, _BLOCKS_IN_BATCH, _HELD_OUT = 256, 4, 40
_ALL = 1_000_000


@dataclass(frozen=True)
class Data:
    """Batches: to choose by, to train on afterwards, and to measure on."""

    calibration: list[Batch]
    recovery: list[Batch]
    validation: list[Batch]


def data_of(case: Case, folder: Path, data_dir: Path | None, recovery_steps: int) -> Data:
    """Of a case whose networks are in `folder`."""
    seen = CALIBRATION + recovery_steps
    if case.is_language:
        text, count = folder.parent / "text", _BLOCKS_IN_BATCH * seen
        training = _blocks(text / "train.jsonl", folder, count, case.seed)
        validation = _blocks(text / "validation.jsonl", folder, _BLOCKS_IN_BATCH * _HELD_OUT, seed=0)
    else:
        source = str(data_dir / case.task)
        training = _sentences(source, "train", folder, seen, case.seed)
        validation = by_length(_sentences(source, "validation", folder, _ALL, seed=0))
    return Data(training[:CALIBRATION], training[CALIBRATION:], validation)


def _sentences(source: str, split: str, folder: Path, count: int, seed: int) -> list[Batch]:
    """32 rows each."""
    drawn = PartitionConfig(num_batches=count, seed=seed)
    return list(calibration_batches(source, str(folder), read_config(folder), drawn, split=split, max_length=64))


def by_length(batches: Sequence[Batch]) -> list[Batch]:
    """The same rows in batches of like length: less padding is computed."""
    rows = []
    for batch in batches:
        for number, length in enumerate(batch["attention_mask"].sum(dim=1).tolist()):
            rows.append({name: v[number, :length] if v.dim() == 2 else v[number] for name, v in batch.items()})
    rows.sort(key=lambda row: len(row["input_ids"]))
    parts = [rows[start : start + 32] for start in range(0, len(rows), 32)]
    return [{name: _together([row[name] for row in part]) for name in part[0]} for part in parts]


def _together(values: list[torch.Tensor]) -> torch.Tensor:
    return pad_sequence(values, batch_first=True) if values[0].dim() else torch.stack(values)


def _blocks(path: Path, folder: Path, count: int, seed: int) -> list[Batch]:
    """(4, 256) tokens each, of blocks drawn at random from files drawn at random."""
    tokenizer, blocks = AutoTokenizer.from_pretrained(folder), []
    texts = [json.loads(line)["text"] for line in path.read_text(encoding="utf-8").splitlines()]
    generator = torch.Generator().manual_seed(seed)
    for number in torch.randperm(len(texts), generator=generator).tolist():
        tokens = torch.tensor(tokenizer(texts[number], verbose=False)["input_ids"])
        blocks += tokens[: len(tokens) // _BLOCK * _BLOCK].view(-1, _BLOCK)
        if len(blocks) > 4 * count:
            break
    drawn = [blocks[number] for number in torch.randperm(len(blocks), generator=generator)[:count].tolist()]
    batches = torch.stack(drawn).split(_BLOCKS_IN_BATCH)
    return [{"input_ids": batch, "labels": batch} for batch in batches]


@torch.no_grad()
def measured(model: PreTrainedModel, batches: Sequence[Batch], task: str) -> dict[str, float]:
    """Mean loss, and the metric: what GLUE counts on the task, in per cent; of a language model the perplexity."""
    model.eval()
    losses, logits, labels = [], [], []
    for batch in batches:
        output = model(**batch)
        losses += [float(output.loss)] * len(batch["labels"])
        if output.logits.dim() == 2:
            logits.append(output.logits)
            labels.append(batch["labels"])
    loss = sum(losses) / len(losses)
    return {
        "loss": loss,
        "metric": 100 * _glue(task, torch.cat(logits), torch.cat(labels)) if logits else math.exp(loss),
    }


def _glue(task: str, logits: torch.Tensor, labels: torch.Tensor) -> float:
    """Mean of the task's measures."""
    sys.path.insert(0, str(EXAMPLES / "glue"))
    measures = import_module("glue_metric").MEASURES[task].values()
    predictions = logits.squeeze(1) if logits.shape[1] == 1 else logits.argmax(dim=-1)
    values = [measure(predictions.tolist(), labels.tolist()) for measure in measures]
    return sum(values) / len(values)


def recover(model: PreTrainedModel, batches: Sequence[Batch], rate: float) -> None:
    """A step of AdamW on each batch, the learning rate falling from `rate` to zero; without the balance loss, which
    would count experts that are gone.
    """
    model.train()
    model.config.balance_loss_coef = 0.0
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=rate, betas=(0.9, 0.95), weight_decay=0.0)
    schedule = get_linear_schedule_with_warmup(optimizer, len(batches) // 10, len(batches))
    for batch in batches:
        model(**batch).loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
