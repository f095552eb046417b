from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from padnet_hf import PADNetError
from text_files import find_text_columns, read_table, take_columns, typed_labels

ROWS = [
    {"text": 'a "quoted", text', "label": "yes"},
    {"text": "two\nlines", "label": "no"},
    {"text": "NA", "label": "no"},
]


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".json", ".jsonl", ".parquet"])
def test_every_format_gives_the_same_table(suffix: str, files: Callable[..., dict[str, str]]) -> None:
    table = read_table(files(suffix, train=pd.DataFrame(ROWS))["train"])
    assert table.to_dict("records") == ROWS


@pytest.mark.parametrize(
    "content", ['{"text": "a"}', '{"data": [{"text": "a"}]}', '[{"text": "a"}]', '\n{"text": "a"}\n\n']
)
def test_json_may_be_lines_a_list_or_under_data(content: str, tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    path.write_text(content)
    assert read_table(str(path)).to_dict("records") == [{"text": "a"}]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"text\n", r"'\.txt'.*\.csv, \.tsv, \.json, \.jsonl, \.parquet"),
        ("a.csv", b"", "cannot be read as .csv"),
        ("a.csv", b"text,label\n", "is empty: it needs at least 1 row"),
        ("a.csv", b"text,label\na,b,c\nd,e,f,g\n", "cannot be read as .csv"),
        ("a.csv", b"text\n\xff\xfe", "cannot be read as .csv"),
        ("a.json", b"", "is empty"),
        ("a.json", b"[]", "is empty"),
        ("a.json", b"[1, 2]", "list of objects"),
        ("a.jsonl", b'{"text": "a"}\n{"te', "cannot be read as .jsonl"),
        ("a.parquet", b"PAR1 broken", "cannot be read as .parquet"),
    ],
)
def test_unreadable_files_are_one_clear_error(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(PADNetError, match=message) as error:
        read_table(str(path))
    assert str(path) in str(error.value)


def test_missing_file_is_named() -> None:
    with pytest.raises(PADNetError, match=r"'nowhere\.csv' is not a file"):
        read_table("nowhere.csv")


@pytest.mark.parametrize(
    ("columns", "found"),
    [
        ({"review": "a", "label": "x"}, ("review",)),
        ({"idx": "1", "review": "a", "label": "x"}, ("review",)),
        ({"left": "a", "right": "b", "label": "x"}, ("left", "right")),
        ({"id": "q7", "sentence1": "a", "sentence2": "b", "label": "x"}, ("sentence1", "sentence2")),
        ({"question": "a", "sentence": "b", "label": "x"}, ("question", "sentence")),
        ({"source": "web", "author": "me", "text": "a", "label": "x"}, ("text",)),
    ],
)
def test_text_columns_are_found(columns: dict[str, str], found: tuple[str, ...]) -> None:
    assert find_text_columns(pd.DataFrame([columns]), (), "label", "file") == found


def test_unclear_text_columns_list_what_there_is() -> None:
    table = pd.DataFrame([{"a": "x", "b": "y", "c": "z", "label": "1"}])
    with pytest.raises(PADNetError, match=r"file has 3 columns of text.*'a', 'b', 'c', 'label'.*--text_column"):
        find_text_columns(table, (), "label", "file")


def test_a_named_column_that_is_missing_is_named_with_those_found() -> None:
    with pytest.raises(PADNetError, match=r"no column 'body': it has 'text', 'label'"):
        find_text_columns(pd.DataFrame(ROWS), ("body",), "label", "file")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"text": None, "label": "x"}, "row 2: column 'text' holds None, where a text is needed"),
        ({"text": 7, "label": "x"}, "row 2: column 'text' holds 7"),
        ({"text": "a", "label": ""}, "row 2: column 'label' holds '', where a label is needed"),
        ({"text": "a", "label": None}, "row 2: column 'label' holds None"),
    ],
)
def test_gaps_are_named_by_row(row: dict, message: str) -> None:
    table = pd.DataFrame([ROWS[0], row], dtype=object)
    with pytest.raises(PADNetError, match=message):
        take_columns(table, ("text",), "label", "file", label_needed=True)


def test_a_test_file_needs_no_labels() -> None:
    table = pd.DataFrame([{"text": "a", "label": ""}, {"text": "b", "label": ""}])
    assert list(take_columns(table, ("text",), "label", "file", label_needed=False)) == ["text"]
    assert list(take_columns(table[["text"]], ("text",), "label", "file", label_needed=False)) == ["text"]


@pytest.mark.parametrize(
    ("labels", "typed"),
    [
        (["2", "10"], [2, 10]),
        ([2, 10], [2, 10]),
        (["0.5", "1"], [0.5, 1.0]),
        ([0.5, 1.0], [0.5, 1.0]),
        (["yes", "1"], ["yes", "1"]),
        ([True, False], ["True", "False"]),
        (["nan", "inf"], ["nan", "inf"]),
    ],
)
def test_labels_are_whole_numbers_numbers_or_strings(labels: list, typed: list) -> None:
    got = typed_labels(pd.Series(labels)).tolist()
    assert got == typed
    assert list(map(type, got)) == list(map(type, typed))
