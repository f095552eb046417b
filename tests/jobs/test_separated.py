"""Rules of CSV and TSV: which rows a file has, and what is refused."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from padnet_hf import PADNetError
from padnet_hf.jobs.separated import parse_separated

ROWS = [["a, b", "x"], ['says "no"', "y"], ["two\nlines", "x"], ["NA", "null"], ["01", "True"], ["", " "], ['"', "\t"]]


@pytest.mark.parametrize("separator", [",", "\t"])
@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_what_a_csv_writer_wrote_is_read_as_it_was(separator: str, quoting: int, end: str) -> None:
    file = io.StringIO(newline="")
    csv.writer(file, delimiter=separator, quoting=quoting, lineterminator=end).writerows([["text", "label"], *ROWS])
    assert parse_separated(file.getvalue(), separator) == (["text", "label"], ROWS)


@pytest.mark.parametrize(
    "rows",
    [
        [['"a fine film', "good"], ["dull", "bad"], ['great"', "good"], ["no", "bad"]],
        [['he said "no" and', "good"], ["dull", "bad"]],
        [['"', "good"], ["dull", "bad"], ['5" wide', "good"]],
        [['"a"b', "good"], ['"quoted"', "bad"]],
        [["it's", "good"], ["'quoted'", "bad"]],
    ],
)
def test_stray_quotes_in_a_tsv_are_text(rows: list[list[str]]) -> None:
    text = "\n".join("\t".join(row) for row in [["text", "label"], *rows])
    assert parse_separated(text, "\t") == (["text", "label"], rows)


FIELDS = st.text(st.sampled_from('"",\n a'), max_size=6)


@given(rows=st.lists(st.lists(FIELDS, min_size=2, max_size=2), min_size=1, max_size=4), quoting=st.sampled_from([0, 1]))
def test_no_csv_is_read_as_other_rows_than_were_written(rows: list[list[str]], quoting: int) -> None:
    file = io.StringIO(newline="")
    csv.writer(file, quoting=quoting).writerows([["text", "label"], *rows])
    found, refused = rows, "can be read in two ways"
    try:
        found = parse_separated(file.getvalue(), ",")[1]
    except PADNetError as error:
        refused = str(error)
    assert found == rows
    assert "can be read in two ways" in refused


@given(rows=st.lists(st.lists(st.text(st.sampled_from("\"' a"), min_size=1), min_size=2, max_size=2), min_size=1))
def test_no_quote_is_lost_from_a_tsv_without_quoting(rows: list[list[str]]) -> None:
    text = "\n".join("\t".join(row) for row in [["text", "label"], *rows])
    found = parse_separated(text, "\t")[1]
    assert len(found) == len(rows)
    if found != rows:  # then every field with a quote is written as CSV writers do
        file = io.StringIO(newline="")
        csv.writer(file, delimiter="\t", lineterminator="\n").writerows([["text", "label"], *found])
        assert file.getvalue().rstrip("\n") == text


def test_empty_lines_are_passed_over() -> None:
    for separator in (",", "\t"):
        text = f"\na{separator}b\n\n1{separator}2\n\n\n"
        assert parse_separated(text, separator) == (["a", "b"], [["1", "2"]])


def test_a_text_may_be_longer_than_csv_takes_by_itself() -> None:
    assert parse_separated(f"a,b\n{'x' * 200_000},1\n", ",")[1] == [["x" * 200_000, "1"]]
    assert csv.field_size_limit() == 131_072


@pytest.mark.parametrize(
    ("separator", "text", "message"),
    [
        (",", "", "it is empty, and needs a line of column names"),
        (
            ",",
            "label,text\npos,fine\npos,a fine film, really\n",
            r"row 2 \(line 3\) has 3 fields, .* 2: put quotes around",
        ),
        (",", "text,label\nfine,pos\n\nno\n", r"row 2 \(line 4\) has 1 field, but the header has 2: fill in"),
        (",", 'text,label\n"two\nlines",pos\nno\n', r"row 2 \(line 4\) has 1 field"),
        (",", "text,label\na,b,\nc,d,\n", r"row 1 \(line 2\) has 3 fields, .* 2: every row ends in a comma: remove it"),
        ("\t", "text\tlabel\na\tb\t\nc\td\t\n", "every row ends in a tab: remove it"),
        ("\t", "text\tlabel\na\tb\tc\n", "has 3 fields, but the header has 2: remove tabs inside a text"),
        (",", 'text,label\na,b\n"c,d\ne,f\n', r"row 2 \(line 3\): its quotes do not match \(unexpected end of data\)"),
        (",", 'text,label\n"a"b,c\n', r"row 1 \(line 2\): its quotes do not match"),
        (
            ",",
            'text,label\n"a,b\nc",d\n',
            "quotes that can be read in two ways: as text, which gives 2 rows, .* 1 rows",
        ),
        (",", "text,text,label\na,b,c\n", "it has 2 columns named 'text': rename or remove them"),
    ],
)
def test_what_is_no_rectangle_of_fields_is_refused_with_its_row(separator: str, text: str, message: str) -> None:
    with pytest.raises(PADNetError, match=message):
        parse_separated(text, separator)
