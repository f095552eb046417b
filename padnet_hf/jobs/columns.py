"""Which columns of a table are read: those named, those of known names, or the only one that holds text."""

import re
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import pandas as pd

from padnet_hf.errors import PADNetError
from padnet_hf.jobs.label_column import is_number

KNOWN_TEXTS = (
    ("premise", "hypothesis"),
    ("sentence1", "sentence2"),
    ("question", "sentence"),
    ("question1", "question2"),
    ("text", "text_pair"),
    ("text1", "text2"),
    ("text_a", "text_b"),
    ("sentence",),
    ("text",),
)
"""Names that say by themselves that a column is the text, or that two are a pair, in this order."""

_NAMES_OF_ROWS = re.compile(r"(id|idx|index|uid|uuid|guid|unnamed: \d+|)", re.IGNORECASE)
"""Columns that tell rows apart; the last is a column without a name, as pandas writes its row numbers."""


class Options(NamedTuple):
    """What the options that name columns are called, for messages."""

    text: str
    label: str


@dataclass(frozen=True)
class Columns:
    """Which columns were read.

    inputs: of texts, one or two, or of images. label: None where none was read. left_out: all others.
    """

    inputs: tuple[str, ...]
    label: str | None
    left_out: tuple[str, ...] = ()

    def __str__(self) -> str:
        parts = [f"input {_listed(self.inputs)}", f"label {self.label!r}" if self.label is not None else "no label"]
        return "; ".join([", ".join(parts), *([f"not read: {_listed(self.left_out)}"] if self.left_out else [])])

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"inputs": list(self.inputs), "label": self.label, "left_out": list(self.left_out)}


def choose_inputs(
    names: Sequence[str],
    holds_text: Callable[[str], bool],
    named: Sequence[str],
    label: str | None,
    source: str,
    options: Options,
) -> tuple[str, ...]:
    """The one or two columns of text.

    Args:
        names: of all columns.
        holds_text: whether a column, given by its name, looks like text.
        named: what the user named; no names for what can be found.
        label: name of the column of labels, which is no text, and nor is what goes with it (`label_text`).

    Raises PADNetError if a named column is missing, twice there, or the label's, or if it is not clear which are meant.
    """
    listed = f"it has {_listed(names)}"
    if named:
        _check_named(names, named, label, source, options)
        return tuple(named)
    found = [name for name in names if not _goes_with(name, label) and not _NAMES_OF_ROWS.fullmatch(name)]
    known = [texts for texts in KNOWN_TEXTS if set(texts) <= set(found)]
    known = [texts for texts in known if not any(set(texts) < set(others) for others in known)]
    if len(known) == 1:
        return known[0]
    found = [name for name in found if holds_text(name)]
    if len(found) == 1:
        return (found[0],)
    which = f" ({_listed(found)})" if found else ""
    raise PADNetError(
        f"{source} has {len(found)} columns of text{which}, and it is not clear which to read: {listed}; name the text "
        f"with {options.text}"
    )


def _check_named(names: Sequence[str], named: Sequence[str], label: str | None, source: str, options: Options) -> None:
    for number, name in enumerate(named):
        if name not in names:
            raise missing_column(name, names, source, options.text)
        if name == label:
            raise PADNetError(
                f"{source}: column {name!r} holds the labels, which are no text: name another column with "
                f"{options.text}, or the one of the labels with {options.label}"
            )
        if name in named[:number]:
            raise PADNetError(f"{source}: column {name!r} is named twice: name another one with {options.text}")


def missing_column(name: str, names: Iterable[str], source: str, option: str) -> PADNetError:
    """The error for a column that a table does not have."""
    return PADNetError(f"{source} has no column {name!r}: it has {_listed(names)}; name another with {option}")


def _goes_with(name: str, label: str | None) -> bool:
    """Whether a column is the label's or says the same in another way: `label_text`, `labels`, `true_label`."""
    if label is None:
        return False
    bases = "|".join(map(re.escape, dict.fromkeys(("label", label))))
    return re.fullmatch(rf"(.*[_ .-])?({bases})(s|\d+)?([_ .-].*)?", name, re.IGNORECASE) is not None


def looks_like_text(values: pd.Series) -> bool:
    """Whether there is a string among the values that is more than a number; names of classes are no text."""
    if isinstance(values.dtype, pd.CategoricalDtype):
        return False
    return any(isinstance(value, str) and value.strip() and not is_number(value.strip()) for value in values)


def check_texts(values: Iterable[object], column: str, source: str, *, may_be_empty: bool = False) -> None:
    """Raise PADNetError, with the row, if a value is not a text, or has nothing in it."""
    for row, value in enumerate(values, 1):
        if not isinstance(value, str) or not (value.strip() or may_be_empty):
            raise PADNetError(
                f"{source}, row {row}: column {column!r} holds {value!r}, where a text is needed; fill it in or remove "
                "the row"
            )


def columns_read(names: Iterable[str], inputs: Sequence[str], label: str | None) -> Columns:
    """What was read, and what of these names was not."""
    return Columns(tuple(inputs), label, tuple(name for name in names if name not in {*inputs, label}))


def _listed(names: Collection[str] | Iterable[str]) -> str:
    return ", ".join(repr(str(name)) for name in names)
