"""Names of labels: those a model knows, and what its configuration says about them."""

from collections.abc import Iterable, Sequence
from typing import Any

from transformers import PreTrainedConfig

from padnet_hf.errors import PADNetError


def known_labels(config: PreTrainedConfig) -> tuple[str, ...]:
    """The model's label names in order; () if it has only transformers' placeholders."""
    own = tuple(config.id2label[number] for number in sorted(config.id2label))
    return () if own == tuple(f"LABEL_{number}" for number in range(len(own))) else own


def class_fields(names: Sequence[str]) -> dict[str, Any]:
    """num_labels, id2label, label2id and problem_type of a classification."""
    return {
        "num_labels": len(names),
        "id2label": dict(enumerate(names)),
        "label2id": {name: number for number, name in enumerate(names)},
        "problem_type": "single_label_classification",
    }


def check_known(labels: Iterable[object], names: Sequence[str], source: str) -> None:
    """Raise PADNetError if a label is not one of `names`."""
    wrong = sorted(set(map(str, labels)) - set(names))
    if wrong:
        raise unknown_label(wrong[0], names, source, "it")


def unknown_label(label: str, names: Sequence[str], source: str, where: str) -> PADNetError:
    """The error for a label that is not one of `names`; `where` says what to correct."""
    return PADNetError(
        f"{source} has the label {label!r}, but the known labels are {_shortened(names)}; correct {where}, or train on "
        "such examples"
    )


def described(names: Sequence[str]) -> str:
    """What is learned, in words: the classes of these names, or scores if there are none."""
    return f"{len(names)} classes: {_shortened(names)}" if names else "scores (a regression)"


def _shortened(names: Sequence[str]) -> str:
    return f"{', '.join(map(repr, names[:12]))}{', ...' if len(names) > 12 else ''}"
