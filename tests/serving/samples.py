"""Small checkpoints with tokenizers, in folders named as docs/serving.md names them."""

from pathlib import Path
from typing import Any

import torch
from transformers import BertTokenizer

from padnet_hf import PartitionConfig, partition
from padnet_hf.models.pad_model import PADModelMixin
from tests.cli.samples import SPECIAL, WORDS
from tests.models.samples import set_apart, small_pad

FORMS = {
    "dynamic": None,
    "element": PartitionConfig(dynamic_ratio=0.4, criterion="random"),
    "unit": PartitionConfig(dynamic_ratio=0.4, criterion="random", granularity="unit", scope="layer"),
}
LONGEST = 18
"""Tokens, of all families of texts."""

TEXTS = ["a fine film", "no", "the plot", "a very very bad film", "dull", "good plot no good film"]


def made(dense: str, auto_class: str, form: str = "element", **fields: Any) -> PADModelMixin:
    """In evaluation mode, with copies apart."""
    model = small_pad(dense, auto_class, **fields)
    if FORMS[form] is not None:
        partition(model, config=FORMS[form], progress=False)
    return set_apart(model).eval()


def tokenizer_for(model: PADModelMixin) -> BertTokenizer:
    """With a word for every token, so that no two texts of tokens are the same."""
    words = [word for word in (*SPECIAL, *WORDS) if word != "[PAD]"]
    words.insert(model.config.pad_token_id, "[PAD]")
    words += [f"w{number}" for number in range(len(words), model.config.vocab_size)]
    return BertTokenizer({word: number for number, word in enumerate(words)}, model_max_length=LONGEST)


def save(model: PADModelMixin, folder: Path) -> None:
    """With its tokenizer."""
    model.save_pretrained(folder)
    tokenizer_for(model).save_pretrained(folder)


@torch.no_grad()
def probabilities(model: PADModelMixin, text: str) -> dict[str, float]:
    """Of a classifier, by the name of the label, for one text alone."""
    scores = model(**tokenizer_for(model)(text, return_tensors="pt")).logits.softmax(-1)[0]
    return {model.config.id2label[number]: float(score) for number, score in enumerate(scores)}
