"""From rows of a data set to what a model takes: text, masked text, images. What a row lacks is said with its value."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.data import Dataset
from transformers import DataCollatorForLanguageModeling, PreTrainedTokenizerBase

from padnet_hf.errors import PADNetError

if TYPE_CHECKING:
    from PIL.Image import Image

Collator = Callable[[list[dict[str, Any]]], dict[str, Any]]


def text_collator(tokenizer: PreTrainedTokenizerBase, columns: Sequence[str], max_length: int) -> Collator:
    """One or two columns of text -> token ids of at most `max_length`, padded."""

    def collate(items: list[dict[str, Any]]) -> dict[str, Any]:
        texts = ([_text(item, name) for item in items] for name in columns)
        return tokenizer(*texts, padding=True, truncation=True, max_length=max_length, return_tensors="pt")

    return collate


def next_token_collator(tokenizer: PreTrainedTokenizerBase, columns: Sequence[str], max_length: int) -> Collator:
    """The same with the tokens themselves as labels, of which each is to be predicted from those before it."""
    collate = text_collator(tokenizer, columns, max_length)

    def collator(items: list[dict[str, Any]]) -> dict[str, Any]:
        batch = collate(items)
        ids, mask = batch["input_ids"], batch["attention_mask"]  # some tokenizers give what no language model takes
        return {"input_ids": ids, "attention_mask": mask, "labels": ids.masked_fill(mask == 0, -100)}

    return collator


def masking_collator(
    tokenizer: PreTrainedTokenizerBase, columns: Sequence[str], max_length: int, seed: int
) -> Collator:
    """The same, with tokens masked at random, and what they were as labels."""
    mask = DataCollatorForLanguageModeling(tokenizer, seed=seed)

    def collate(items: list[dict[str, Any]]) -> dict[str, Any]:
        texts = ([_text(item, name) for name in columns] for item in items)
        return mask([tokenizer(*parts, truncation=True, max_length=max_length) for parts in texts])

    return collate


def image_collator(processor: Callable[..., dict[str, Any]], column: str) -> Collator:
    """A column of images as they are stored, not decoded yet -> pixel values."""

    def collate(items: list[dict[str, Any]]) -> dict[str, Any]:
        return processor([_image(item, column) for item in items], return_tensors="pt")

    return collate


class Labelled(Dataset):
    """Rows with their labels as pairs."""

    def __init__(self, rows: Sequence[Mapping[str, Any]], labels: Sequence[int | float]) -> None:
        self._rows, self._labels = rows, labels

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> tuple[Mapping[str, Any], int | float]:
        return self._rows[index], self._labels[index]


def labelled(collate: Collator) -> Callable[[list[tuple[dict[str, Any], int | float]]], dict[str, Any]]:
    """Pairs of a row and its label -> what `collate` makes of the rows, and the labels."""

    def collator(items: list[tuple[dict[str, Any], int | float]]) -> dict[str, Any]:
        rows, labels = zip(*items, strict=True)
        return {**collate(list(rows)), "labels": torch.tensor(labels)}

    return collator


def _text(item: Mapping[str, Any], name: str) -> str:
    if not isinstance(item[name], str):
        raise PADNetError(
            f"a row of the calibration data has {item[name]!r} in column {name!r}, but the model takes text: correct "
            "or remove it, or name another column with --input."
        )
    return item[name]


def _image(item: Mapping[str, Any], name: str) -> "Image":
    from datasets import Image

    stored = item[name]
    if not isinstance(stored, Mapping):
        raise PADNetError(
            f"a row of the calibration data has {stored!r} in column {name!r}, but the model takes images: correct or "
            "remove it, or name another column with --input."
        )
    try:
        return Image().decode_example(stored).convert("RGB")
    except (OSError, SyntaxError) as error:  # the second is PIL's, for damaged PNGs
        raise PADNetError(
            f"an image of the calibration data, {stored['path']!r}, cannot be read: {error}; correct or remove it."
        ) from error
