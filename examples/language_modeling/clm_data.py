"""The text asked for, held out in part, and cut into blocks: in memory, or while the model is trained."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

from datasets import IterableDataset
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from blocks import Blocks, as_item, cut
from clm_arguments import DataArguments, held_out_percentage
from padnet_hf import PADNetError
from padnet_hf.jobs.columns import Columns
from padnet_hf.jobs.tables import SUFFIXES
from text_rows import as_source, rows_of_file, rows_of_hub
from texts import Piece, Source, Writer, chat_writer, plain_text

SHUFFLE_BUFFER = 1000
_FILES = {"train": "train_file", "validation": "validation_file"}

Pieces = Callable[[], Iterator[Piece]]


@dataclass(frozen=True)
class Corpus:
    """Text.

    Attributes:
        name: for people and the model card.
        splits: the pieces of `train` and `validation`, from the first one on at every call.
        columns: which were read; None for plain text.
    """

    name: str
    splits: Mapping[str, Pieces]
    columns: Columns | None = None


def load_corpus(
    data: DataArguments, tokenizer: PreTrainedTokenizerBase, splits: Iterable[str], cache_dir: str | None = None
) -> Corpus:
    """The text asked for. `splits` says which of `train` and `validation` are needed.

    Raises PADNetError for a file or split that is missing or empty, a column that is not clear, and chats without a
    template.
    """
    write = chat_writer(tokenizer, data.messages_column) if data.messages_column else None
    if data.dataset_name:
        found = {split: as_source(rows, data, write) for split, rows in rows_of_hub(data, cache_dir).items()}
    else:
        found = {split: _of_file(path, data, write) for split, name in _FILES.items() if (path := getattr(data, name))}
    sources = {split: source for split, (source, _) in found.items()}
    corpus = Corpus(
        data.dataset_name or Path(data.train_file or data.validation_file).name,
        _parted(sources, held_out_percentage(data) / 100),
        next(columns for _, columns in found.values()),
    )
    for split in splits:
        _check_split(split, corpus)
    return corpus


def _of_file(path: str, data: DataArguments, write: Writer | None) -> tuple[Source, Columns | None]:
    if Path(path).suffix.lower() in SUFFIXES:
        return as_source(rows_of_file(path, streaming=data.streaming), data, write)
    for option in ("text_column", "messages_column"):
        if column := getattr(data, option):
            raise PADNetError(
                f"--{option} {column} needs a table, but {path!r} is plain text by its suffix (tables end in "
                f"{', '.join(SUFFIXES)}): give a table, or leave the option out"
            )
    return plain_text(path), None


def _parted(sources: Mapping[str, Source], held_out: float) -> dict[str, Pieces]:
    """The whole of every source; part of the training text is held out where there is no other."""
    if "validation" in sources or not held_out:
        return {split: partial(source, 0, 1) for split, source in sources.items()}
    train = sources["train"]
    return {"train": partial(train, 0, 1 - held_out), "validation": partial(train, 1 - held_out, 1)}


def _check_split(split: str, corpus: Corpus) -> None:
    if split not in corpus.splits:
        remedy = ", or leave --validation_split_percentage above 0" if split == "validation" else ""
        raise PADNetError(f"{corpus.name} has no text for {split!r}: add --{_FILES[split]}{remedy}")
    if next(corpus.splits[split](), None) is None:
        raise PADNetError(f"{corpus.name} holds no text for {split!r}: give more of it, or another --{_FILES[split]}")


def read_blocks(
    corpus: Corpus, split: str, tokenizer: PreTrainedTokenizerBase, data: DataArguments, length: int
) -> Blocks:
    """The blocks of a split that the options leave. Raises PADNetError if there is none."""
    size = data.max_train_samples if split == "train" else data.max_eval_samples
    found = cut(corpus.splits[split](), tokenizer, length)
    blocks = Blocks.of(islice(found, size) if data.streaming else found, length).limited(size)
    if not len(blocks):
        raise too_short(corpus, split, length)
    return blocks


def stream_blocks(
    corpus: Corpus, tokenizer: PreTrainedTokenizerBase, data: DataArguments, length: int, seed: int
) -> IterableDataset:
    """The training blocks as they are read, drawn from a buffer of them. Raises PADNetError if there is none."""

    def generate() -> Iterator[dict[str, Tensor]]:
        for block in cut(corpus.splits["train"](), tokenizer, length):
            yield as_item(block.ids)

    if next(generate(), None) is None:
        raise too_short(corpus, "train", length)
    return IterableDataset.from_generator(generate).shuffle(seed, buffer_size=data.shuffle_buffer or SHUFFLE_BUFFER)


def too_short(corpus: Corpus, split: str, length: int) -> PADNetError:
    """The error for a split of fewer tokens than a block has."""
    remedy = ", a larger --validation_split_percentage" if split == "validation" else ""
    return PADNetError(
        f"{corpus.name} has fewer tokens for {split!r} than one block of {length}: give more text{remedy}, or a "
        "smaller --block_size"
    )
