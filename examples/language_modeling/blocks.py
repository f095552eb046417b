"""Text as blocks of equally many tokens, each with the bytes of text that its scored tokens stand for.

The first token of a block is not scored, for nothing stands before it.
"""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import NamedTuple, Self

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset
from transformers import PreTrainedTokenizerBase

from texts import Piece

_PIECES_AT_ONCE = 256


class Block(NamedTuple):
    """Token numbers, and bytes of text that all but the first of them stand for."""

    ids: list[int]
    num_bytes: int


class Blocks(Dataset):
    """Blocks in memory, as a language model takes them: `input_ids`, and the same as `labels`."""

    def __init__(self, ids: np.ndarray, num_bytes: np.ndarray) -> None:
        self.ids, self.num_bytes = ids, num_bytes

    @classmethod
    def of(cls, blocks: Iterable[Block], length: int) -> Self:
        """Blocks of `length` tokens each; there may be none."""
        found = [(np.array(block.ids, dtype=np.int32), block.num_bytes) for block in blocks]
        ids = np.stack([ids for ids, _ in found]) if found else np.empty((0, length), dtype=np.int32)
        return cls(ids, np.array([num_bytes for _, num_bytes in found], dtype=np.int64))

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return as_item(self.ids[index])

    def limited(self, size: int | None) -> Self:
        """At most so many, drawn always alike, in their order."""
        if size is None or size >= len(self):
            return self
        kept = np.sort(np.random.default_rng(0).permutation(len(self))[:size])
        return type(self)(self.ids[kept], self.num_bytes[kept])

    @property
    def scored_tokens(self) -> int:
        return self.ids.size - len(self)

    @property
    def scored_bytes(self) -> int:
        return int(self.num_bytes.sum())


def as_item(ids: np.ndarray | list[int]) -> dict[str, Tensor]:
    """What the model takes of a block; its loss shifts the labels itself."""
    numbers = torch.as_tensor(ids, dtype=torch.long)
    return {"input_ids": numbers, "labels": numbers.clone()}


def cut(pieces: Iterable[Piece], tokenizer: PreTrainedTokenizerBase, length: int) -> Iterator[Block]:
    """Blocks of `length` tokens of the documents that the pieces make up, one after the other; a rest is left out."""
    ids: list[int] = []
    sizes: list[int] = []
    for more_ids, more_sizes in _tokenised(pieces, tokenizer):
        ids += more_ids
        sizes += more_sizes
        full = len(ids) // length * length
        for start in range(0, full, length):
            yield Block(ids[start : start + length], sum(sizes[start + 1 : start + length]))
        del ids[:full], sizes[:full]


def _tokenised(pieces: Iterable[Piece], tokenizer: PreTrainedTokenizerBase) -> Iterator[tuple[list[int], list[int]]]:
    """Token numbers of each piece, and the bytes that each token stands for.

    A document has around it what the tokenizer puts there; where that is nothing, what ends a text stands behind it.
    """
    before, behind = around(tokenizer)
    remaining, begins = iter(pieces), True
    while some := list(islice(remaining, _PIECES_AT_ONCE)):
        encoded = tokenizer(
            [piece.text for piece in some],
            add_special_tokens=False,
            return_offsets_mapping=True,
            return_attention_mask=False,
            verbose=False,  # of texts longer than the model takes: they are cut here
        )
        for piece, ids, offsets in zip(some, encoded["input_ids"], encoded["offset_mapping"], strict=True):
            first = before if begins and not piece.is_chat else []
            last = behind if piece.ends and not piece.is_chat else []
            sizes = bytes_of_tokens(piece.text, offsets)
            yield first + ids + last, [0] * len(first) + sizes + [0] * len(last)
            begins = piece.ends


def around(tokenizer: PreTrainedTokenizerBase) -> tuple[list[int], list[int]]:
    """Token numbers before and behind a document."""
    plain = tokenizer("a", add_special_tokens=False)["input_ids"]
    whole = tokenizer("a")["input_ids"]
    start = next((n for n in range(len(whole)) if whole[n : n + len(plain)] == plain), 0)
    before, behind = whole[:start], whole[start + len(plain) :]
    if not before and not behind and tokenizer.eos_token_id is not None:
        behind = [tokenizer.eos_token_id]
    return before, behind


def bytes_of_tokens(text: str, offsets: list[tuple[int, int]]) -> list[int]:
    """Bytes of UTF-8 that each token adds to those before it; together they are those of the text.

    Of a character that several tokens make up the first one has all bytes; what no token stands for (white space that
    a tokenizer drops) goes to the next token, at the end to the last.
    """
    if not offsets:
        return []
    codes = np.frombuffer(text.encode("utf-32-le"), dtype=np.uint32)
    lengths = 1 + (codes >= 0x80).astype(np.int64) + (codes >= 0x800) + (codes >= 0x10000)
    positions = np.concatenate([[0], np.cumsum(lengths)])
    ends = np.maximum.accumulate([end for _, end in offsets])
    ends[-1] = len(text)
    return np.diff(positions[ends], prepend=0).tolist()
