"""Documents in pieces, out of a plain text file or a column of rows, and which part of them is held out.

A source gives the pieces of a share of its text: of all for 0 and 1, of the last tenth for 0.9 and 1.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from transformers import PreTrainedTokenizerBase

from padnet_hf import PADNetError
from padnet_hf.jobs.refusals import as_one_error

_PIECE = 1 << 16
"""Characters, at least: where the document in a text file is cut at the next end of a line, for the tokenizer alone."""

_HASHES = 1 << 64


class Piece(NamedTuple):
    """Text, whether its document ends with it, and whether it has the special tokens of a chat in it."""

    text: str
    ends: bool = True
    is_chat: bool = False


Source = Callable[[float, float], Iterator[Piece]]
Writer = Callable[[Any], str]


def plain_text(path: str) -> Source:
    """The document in a text file, as it is; of a share those lines that begin in that part of the file.

    Raises PADNetError if it is not there or empty; while it is read, if it is no text in UTF-8.
    """
    file = Path(path)
    if not file.is_file():
        raise PADNetError(f"{path!r} is not a file: give the path of a text file or a table")
    if not file.stat().st_size:
        raise PADNetError(f"{path!r} is empty: it needs text")

    def pieces(begin: float, end: float) -> Iterator[Piece]:
        text, is_open = "", False
        for line in _lines(file, begin, end):
            text, is_open = text + line, True
            if len(text) >= _PIECE:
                yield Piece(text, ends=False)
                text = ""
        if is_open:
            yield Piece(text)

    return pieces


def _lines(file: Path, begin: float, end: float) -> Iterator[str]:
    """With their ends as they are."""
    size, position = file.stat().st_size, 0
    remedy = "save it as plain text in UTF-8, or give it the suffix of the table that it is"
    explained = as_one_error(f"'{file}' cannot be read as text", remedy, always=(UnicodeDecodeError, OSError))
    with explained, file.open(encoding="utf-8-sig", newline="") as lines:
        for line in lines:
            if "\0" in line:
                raise PADNetError(f"'{file}' cannot be read as text: a 0 follows its byte {position}; {remedy}")
            if begin * size <= position < end * size:
                yield line
            position += len(line.encode("utf-8"))
            if position >= end * size:
                return


def rows_of_text(values: Callable[[], Iterable[Any]], column: str, source: str, write: Writer | None = None) -> Source:
    """A document in every row; of a share those whose text falls there by its hash, whatever stands around it.

    Args:
        values: gives the column's values, from the first one on at every call.
        column, source: for messages.
        write: makes a text of a value that is a chat.

    Raises PADNetError, while it is read, for a value that is no text. Empty texts are passed over.
    """

    def pieces(begin: float, end: float) -> Iterator[Piece]:
        with as_one_error(f"{source} cannot be read", "save it again, or give another one"):
            for row, value in enumerate(values(), 1):
                where = f"{source}, row {row}: column {column!r}"
                text = _text(value, where) if write is None else _chat(value, where, write)
                if text and begin <= _share(text) < end:
                    yield Piece(text, is_chat=write is not None)

    return pieces


def _share(text: str) -> float:
    """A number from 0 to below 1, by a hash of the text alone."""
    return int.from_bytes(hashlib.sha256(text.encode("utf-8")).digest()[:8], "big") / _HASHES


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise PADNetError(f"{where} holds {value!r}, where a text is needed; fill it in or remove the row")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise PADNetError(f"{where} holds half a character at place {error.start}; remove the row") from error
    return value


def _chat(value: Any, where: str, write: Writer) -> str:
    if not isinstance(value, list) or not value or not all(isinstance(message, dict) for message in value):
        raise PADNetError(
            f"{where} holds {str(value)[:80]!r}, where a list of messages with role and content is needed; name "
            "another column with --messages_column, or one of plain text with --text_column"
        )
    with as_one_error(f"{where} does not suit the tokenizer's chat template", "correct or remove the row"):
        return _text(write(value), where)


def chat_writer(tokenizer: PreTrainedTokenizerBase, column: str) -> Writer:
    """What makes a text of a chat. Raises PADNetError if the tokenizer has no template for that."""
    if not tokenizer.chat_template:
        raise PADNetError(
            f"--messages_column {column} holds chats, but the tokenizer has no chat template: give one that has with "
            "--tokenizer_name, or plain text with --text_column"
        )
    return lambda messages: tokenizer.apply_chat_template(messages, tokenize=False)
