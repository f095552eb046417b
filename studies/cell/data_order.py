"""The same data in the same order, whichever network is trained."""

import hashlib
from collections.abc import Callable
from typing import Any

import torch
from torch.utils.data import Sampler
from transformers import Trainer
from transformers.trainer_pt_utils import LengthGroupedSampler


def fix_data_order(trainer: Trainer, seed: int) -> Any:
    """Let the order depend on the seed alone; a running hash (hashlib's) of the training data as they come.

    Where sentences of like length are grouped, transformers draws from the global generator, from which dropout and
    routers draw too: after the first epoch every network would see another order.
    """
    sampler = trainer._get_train_sampler

    def seeded(*args: Any) -> Sampler | None:
        found = sampler(*args)
        if isinstance(found, LengthGroupedSampler):
            found.generator = torch.Generator().manual_seed(seed)
        return found

    trainer._get_train_sampler = seeded
    digest = hashlib.sha256()
    trainer.data_collator = _watched(trainer.data_collator, trainer.model, digest)
    return digest


def _watched(collator: Callable[[list[Any]], Any], model: torch.nn.Module, digest: Any) -> Callable[[list[Any]], Any]:
    def watch(items: list[Any]) -> Any:
        if model.training:
            for item in items:
                for name in sorted(item):
                    digest.update(torch.as_tensor(item[name]).numpy().tobytes())
        return collator(items)

    return watch
