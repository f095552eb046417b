import pandas as pd
import pytest

from glue_tasks import TASKS
from padnet_hf import PADNetError
from padnet_hf.jobs.columns import (
    KNOWN_TEXTS,
    Options,
    check_texts,
    choose_inputs,
    columns_read,
    looks_like_text,
)

OPTIONS = Options("--text", "--label")


def choose(columns: dict[str, object], *named: str, label: str | None = "label") -> tuple[str, ...]:
    table = pd.DataFrame([columns], dtype=object)
    return choose_inputs(list(table), lambda name: looks_like_text(table[name]), named, label, "file", OPTIONS)


@pytest.mark.parametrize(
    ("columns", "found"),
    [
        ({"review": "a", "label": "x"}, ("review",)),
        ({"idx": "1", "review": "a", "label": "x"}, ("review",)),
        ({"": "0", "review": "a", "label": "x"}, ("review",)),
        ({"id": "q7", "review": "a", "label": "x"}, ("review",)),
        ({"comment": "a", "label": "0", "label_text": "good"}, ("comment",)),
        ({"comment": "a", "label": "0", "labels": "good", "gold_label": "x", "Label Name": "y"}, ("comment",)),
        ({"id": "q7", "sentence1": "a", "sentence2": "b", "label": "x"}, ("sentence1", "sentence2")),
        ({"question": "a", "sentence": "b", "label": "x"}, ("question", "sentence")),
        ({"text_pair": "a", "text": "b", "label": "x"}, ("text", "text_pair")),
        ({"source": "web", "author": "me", "text": "a", "label": "x"}, ("text",)),
        ({"text": None, "label": "x"}, ("text",)),
        ({"text": "12", "label": "x"}, ("text",)),
    ],
)
def test_text_columns_are_found(columns: dict[str, object], found: tuple[str, ...]) -> None:
    assert choose(columns) == found


def test_what_goes_with_another_label_column_is_no_text_either() -> None:
    assert choose({"body": "a", "verdict": "x", "verdict_name": "y", "label": "z"}, label="verdict") == ("body",)


def test_classes_that_datasets_named_are_no_text() -> None:
    table = pd.DataFrame({"topic": pd.Categorical(["a", "b"]), "body": ["x y", "z"], "label": ["0", "1"]})
    found = choose_inputs(list(table), lambda name: looks_like_text(table[name]), (), "label", "file", OPTIONS)
    assert found == ("body",)


def test_without_labels_every_column_may_be_text() -> None:
    assert choose({"label_text": "a"}, label=None) == ("label_text",)


def test_every_glue_task_has_known_columns() -> None:
    assert {task.text_columns for task in TASKS.values()} <= set(KNOWN_TEXTS)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (
            {"left": "a", "right": "b", "label": "x"},
            r"file has 2 columns of text \('left', 'right'\).*not clear.*--text",
        ),
        ({"a": "x", "b": "y", "c": "z", "label": "1"}, "3 columns of text.*it has 'a', 'b', 'c', 'label'"),
        ({"text": "a", "sentence": "b", "label": "x"}, r"2 columns of text \('text', 'sentence'\).*not clear"),
        ({"sentence1": "a", "sentence2": "b", "text": "c", "label": "x"}, "3 columns of text"),
        (
            {"label_text": "a", "label": "1"},
            "0 columns of text, and it is not clear which to read: it has 'label_text'",
        ),
        ({"number": "1.5", "label": "1"}, "0 columns of text"),
    ],
)
def test_what_is_not_clear_is_asked_for(columns: dict[str, object], message: str) -> None:
    with pytest.raises(PADNetError, match=message):
        choose(columns)


def test_named_columns_are_taken_whatever_they_are_called() -> None:
    columns = {"left": "a", "label_text": "b", "label": "x"}
    assert choose(columns, "label_text") == ("label_text",)
    assert choose(columns, "left", "label_text") == ("left", "label_text")


@pytest.mark.parametrize(
    ("named", "message"),
    [
        (("body",), "file has no column 'body': it has 'text', 'label'; name another with --text"),
        (("label",), "column 'label' holds the labels, which are no text: name another column with --text.*--label"),
        (("text", "text"), "column 'text' is named twice"),
    ],
)
def test_named_columns_that_cannot_be_are_refused(named: tuple[str, ...], message: str) -> None:
    with pytest.raises(PADNetError, match=message):
        choose({"text": "a", "label": "x"}, *named)


@pytest.mark.parametrize("value", [None, float("nan"), "", "  ", 7, ["a"]])
def test_a_row_without_text_is_named(value: object) -> None:
    with pytest.raises(PADNetError, match=r"file, row 2: column 'text' holds .*, where a text is needed; fill it"):
        check_texts(["a", value], "text", "file")


def test_an_empty_text_may_be_allowed_and_a_missing_one_not() -> None:
    check_texts(["a", ""], "text", "file", may_be_empty=True)
    with pytest.raises(PADNetError, match="row 1"):
        check_texts([None], "text", "file", may_be_empty=True)


def test_what_was_read_is_said_with_what_was_not() -> None:
    columns = columns_read(["idx", "a", "b", "label"], ("b", "a"), "label")
    assert str(columns) == "input 'b', 'a', label 'label'; not read: 'idx'"
    assert columns.to_dict() == {"inputs": ["b", "a"], "label": "label", "left_out": ["idx"]}
    assert str(columns_read(["a"], ("a",), None)) == "input 'a', no label"
