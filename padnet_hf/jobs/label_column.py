"""The labels in a column: names as they are spelled, or scores; what is neither is an error with its row."""

import logging
import math
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pandas as pd
from transformers import PreTrainedConfig

from padnet_hf.errors import PADNetError
from padnet_hf.jobs.labels import known_labels, unknown_label

logger = logging.getLogger(__name__)

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)
_WHOLE = re.compile(r"[+-]?\d+")
_GAPS = frozenset(("n/a", "na", "nan", "none", "null", "nil", "missing", "unknown", "undefined", "-", "--", "?", "."))
"""What people write where a label is missing; among numbers that is no class."""


@dataclass(frozen=True)
class LabelColumn:
    """The labels of one table, one for each row.

    spelled: as the file spells them: `01` is not `1`, a JSON true is `True`. None where there is none.
    order: names of all classes where the data itself has them in order (ClassLabel).
    source, column: for messages.
    """

    spelled: tuple[str | None, ...]
    order: tuple[str, ...]
    source: str
    column: str

    def is_unlabelled(self, known: Sequence[str] = ()) -> bool:
        """Whether no row has a label, or each has -1, which is no class then, as where a test set's are kept back."""
        marks = {None} if "-1" in known else {None, "-1", "-1.0"}
        return set(self.spelled) <= marks

    def row(self, index: int) -> str:
        """Where a label stands and what it is, for messages."""
        return f"{self.source}, row {index + 1}: column {self.column!r} holds {self.spelled[index]!r}"


def is_number(text: str) -> bool:
    """Whether a string is a number as files spell them: `-3`, `0.5`, `1e-05`; not `inf`, `nan` or `1,000`."""
    return _NUMBER.fullmatch(text) is not None


def read_labels(values: pd.Series | Sequence[object], column: str, source: str) -> LabelColumn:
    """The labels in a column of a table. Raises PADNetError, with the row, for lists, objects and the like."""
    is_ordered = isinstance(values, pd.Series) and isinstance(values.dtype, pd.CategoricalDtype)
    order = tuple(values.cat.categories) if is_ordered else ()
    spelled = tuple(_spelling(value, index, column, source) for index, value in enumerate(values))
    return LabelColumn(spelled, order, source, column)


def _spelling(value: object, index: int, column: str, source: str) -> str | None:
    if (
        value is None
        or (isinstance(value, str) and not value.strip())
        or (isinstance(value, float) and math.isnan(value))
    ):
        return None
    if isinstance(value, str | bool | int | float | Decimal):
        return str(value)
    raise PADNetError(
        f"{source}, row {index + 1}: column {column!r} holds {str(value)[:80]}, a {type(value).__name__}, where one "
        "label is needed (a string or a number); several labels for a row are not supported"
    )


def check_filled(labels: LabelColumn) -> None:
    """Raise PADNetError, with the row, if a label is missing."""
    if None in labels.spelled:
        index = labels.spelled.index(None)
        raise PADNetError(f"{labels.row(index)}, where a label is needed; fill it in or remove the row")


def class_names(labels: LabelColumn) -> tuple[str, ...] | None:
    """The names of the classes in order, None if the labels are scores. All rows must have a label.

    Scores are numbers of which at least one has a decimal point. Classes that are all whole numbers are in the order of
    these, others in that of the alphabet, or in the data's own where it has one.

    Raises PADNetError, with the row, for a word among scores or what stands for a missing label among numbers, and if
    there is only one class.
    """
    numbers = [is_number(label) for label in labels.spelled]
    if labels.order:
        names = labels.order
    elif all(numbers) and any("." in label for label in labels.spelled):
        return None
    else:
        _check_mixture(labels, numbers)
        names = tuple(sorted(set(labels.spelled), key=_place if all(map(_WHOLE.fullmatch, labels.spelled)) else None))
    if len(names) < 2:
        raise PADNetError(f"{labels.source} has only the label {names[0]!r}: a classification needs at least 2")
    return names


def _place(name: str) -> tuple[int, str]:
    return int(name), name


def _check_mixture(labels: LabelColumn, numbers: Sequence[bool]) -> None:
    """Raise PADNetError for a few words among scores, and for what stands for a missing label among any numbers."""
    others = [index for index, is_a_number in enumerate(numbers) if not is_a_number]
    count = len(numbers) - len(others)
    if not others or not count:
        return
    has_scores = any("." in label for label, is_a_number in zip(labels.spelled, numbers, strict=True) if is_a_number)
    if (has_scores and count > len(others)) or all(labels.spelled[index].lower() in _GAPS for index in others):
        raise PADNetError(
            f"{labels.row(others[0])}, but {count} of {len(numbers)} labels are numbers: correct or remove such rows, "
            "or give the classes names that are no numbers"
        )


def as_scores(labels: LabelColumn) -> list[float]:
    """The labels as numbers. Raises PADNetError, with the row, if one is not."""
    check_filled(labels)
    for index, label in enumerate(labels.spelled):
        if not is_number(label) or not math.isfinite(float(label)):
            raise PADNetError(
                f"{labels.source} has the label {label!r}, but a regression needs numbers; correct row {index + 1}, or "
                "train on such examples"
            )
    return [float(label) for label in labels.spelled]


def as_classes(labels: LabelColumn, names: Sequence[str]) -> list[str]:
    """The labels, each one of `names`. Raises PADNetError, with the label, if one is not."""
    check_filled(labels)
    _check_each(labels, frozenset(names), names)
    return list(labels.spelled)


def _check_each(labels: LabelColumn, allowed: Collection[str], names: Sequence[str]) -> None:
    for index, label in enumerate(labels.spelled):
        if label not in allowed:
            raise unknown_label(label, names, labels.source, f"row {index + 1}")


def as_known_classes(labels: LabelColumn, names: Sequence[str], *, placeholders: bool = False) -> list[str]:
    """The labels as names that were there before the data: a model's, or a task's.

    A label is the class of that name. Numbers are the numbers of the classes, 0 for the first, where no class is named
    by a number. `placeholders` says that the names mean nothing (LABEL_0): then the data's own order counts too.

    Raises PADNetError, with the label, if it is neither, or could be both.
    """
    check_filled(labels)
    order = labels.order if placeholders and labels.order else tuple(map(str, range(len(names))))
    found, numbered = set(labels.spelled), dict(zip(order, names, strict=False))
    if not found & set(numbered) or found & set(names) or any(map(is_number, names)):
        return as_classes(labels, names)
    _check_each(labels, numbered, names)
    return [numbered[label] for label in labels.spelled]


def as_model_labels(labels: LabelColumn, config: PreTrainedConfig) -> list[str] | list[float]:
    """The labels as a model that is not trained on them first takes them: scores, or names of its classes.

    Raises PADNetError, with the label, if it is not one of these.
    """
    if config.problem_type == "regression" or config.num_labels == 1:
        return as_scores(labels)
    names = tuple(config.id2label[number] for number in sorted(config.id2label))
    return as_known_classes(labels, names, placeholders=not known_labels(config))


def measurable(
    values: pd.Series | Sequence[object],
    column: str,
    source: str,
    known: Sequence[str],
    typed: Callable[[LabelColumn], list[Any]],
) -> list[Any] | None:
    """The labels of a test set as `typed` gives them, None where they are kept back or it raises; that is said.

    `known` are the names of classes: -1 on every row means that there are no labels, unless a class has that name.
    """
    try:
        labels = read_labels(values, column, source)
        if not labels.is_unlabelled(known):
            return typed(labels)
        logger.info("%s has no labels in %r: predictions are written, nothing is measured", source, column)
    except PADNetError as error:
        logger.warning("%s. Predictions are written, but nothing is measured", error)
    return None
