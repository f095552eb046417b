import json
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import ClassLabel, Dataset, Features, Value

from padnet_hf import PADNetError
from padnet_hf.jobs.tables import read_table

ROWS = [
    {"text": 'a "quoted", text', "label": "yes"},
    {"text": "two\nlines", "label": "no"},
    {"text": "NA", "label": "null"},
    {"text": "True", "label": "01"},
]


def write(path: Path, rows: list[dict]) -> str:
    table = pd.DataFrame(rows)
    if path.suffix == ".parquet":
        table.to_parquet(path)
    elif path.suffix.lower().startswith(".json"):
        table.to_json(path, orient="records", lines=path.suffix == ".jsonl")
    else:
        table.to_csv(path, index=False, sep="\t" if path.suffix == ".tsv" else ",")
    return str(path)


@pytest.mark.parametrize("suffix", [".csv", ".CSV", ".tsv", ".json", ".jsonl", ".parquet"])
def test_every_format_gives_the_same_table(suffix: str, tmp_path: Path) -> None:
    table = read_table(write(tmp_path / f"rows{suffix}", ROWS))
    assert table.to_dict("records") == ROWS


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".json", ".jsonl"])
def test_a_byte_order_mark_is_no_part_of_the_table(suffix: str, tmp_path: Path) -> None:
    path = Path(write(tmp_path / f"rows{suffix}", ROWS))
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert read_table(str(path)).to_dict("records") == ROWS


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".json", ".jsonl"])
@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32", "latin-1"])
def test_other_encodings_than_utf8_are_named(suffix: str, encoding: str, tmp_path: Path) -> None:
    path = Path(write(tmp_path / f"rows{suffix}", ROWS))
    path.write_bytes((path.read_text() + "é").encode(encoding))
    message = r"line \d+ holds the byte 0xe9" if encoding == "latin-1" else encoding[:6].upper()
    with pytest.raises(PADNetError, match=f"{message}.*must be UTF-8"):
        read_table(str(path))


@pytest.mark.parametrize(
    "content", ['{"text": "a"}', '{"data": [{"text": "a"}]}', '[{"text": "a"}]', '\n{"text": "a"}\n\n']
)
def test_json_may_be_lines_a_list_or_under_data(content: str, tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    path.write_text(content)
    assert read_table(str(path)).to_dict("records") == [{"text": "a"}]


def test_a_line_of_json_ends_at_a_line_break_and_at_nothing_else(tmp_path: Path) -> None:
    rows = [{"text": "a\u2028b\x85c"}, {"text": "d"}]
    (tmp_path / "rows.jsonl").write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows))
    assert read_table(str(tmp_path / "rows.jsonl")).to_dict("records") == rows


@pytest.mark.parametrize("suffix", [".json", ".parquet"])
def test_numbers_and_gaps_keep_their_kinds(suffix: str, tmp_path: Path) -> None:
    rows = [{"text": "a", "label": 1, "score": 1.0}, {"text": None, "label": None, "score": 0.5}]
    path = tmp_path / f"rows{suffix}"
    if suffix == ".json":
        path.write_text(json.dumps(rows))
    else:
        pq.write_table(pa.Table.from_pylist(rows), path)
    found = read_table(str(path)).to_dict("records")
    assert found == rows
    assert [type(value) for value in found[0].values()] == [str, int, float]


def test_a_field_that_a_json_object_lacks_is_a_gap(tmp_path: Path) -> None:
    (tmp_path / "rows.json").write_text('[{"text": "a"}, {"label": 1}]')
    assert read_table(str(tmp_path / "rows.json")).to_dict("records") == [
        {"text": "a", "label": None},
        {"text": None, "label": 1},
    ]


def test_classes_that_datasets_named_keep_names_and_order(tmp_path: Path) -> None:
    features = Features({"text": Value("string"), "label": ClassLabel(names=["z", "a"])})
    Dataset.from_dict({"text": ["x"] * 4, "label": [1, 0, -1, None]}, features=features).to_parquet(
        tmp_path / "t.parquet"
    )
    label = read_table(str(tmp_path / "t.parquet"))["label"]
    assert list(label.cat.categories) == ["z", "a"]
    assert label[:2].tolist() == ["a", "z"]
    assert label[2:].isna().all()


def test_row_numbers_of_pandas_are_no_column(tmp_path: Path) -> None:
    pd.DataFrame(ROWS, index=["q", "r", "s", "t"]).to_parquet(tmp_path / "t.parquet")
    assert list(read_table(str(tmp_path / "t.parquet"))) == ["text", "label"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"text\n", r"'\.txt'.*\.csv, \.tsv, \.json, \.jsonl, \.parquet"),
        ("a.csv", b"", "cannot be read as .csv"),
        ("a.csv", b"text,label\n", "is empty: it needs at least 1 row"),
        (
            "a.csv",
            b"text,label\na,b,c\nd,e,f,g\n",
            r"cannot be read as .csv: row 1 \(line 2\) has 3 fields.* header has 2",
        ),
        ("a.csv", b"text\n\xff\xfe", "line 2 holds the byte 0xff"),
        ("a.json", b"", "is empty"),
        ("a.json", b"[]", "is empty"),
        ("a.json", b"[1, 2]", "list of objects"),
        ("a.json", b'[{"text": "a"},\n {"te', "cannot be read as .json: .*line 2 column"),
        ("a.jsonl", b'{"text": "a"}\n{"te', "cannot be read as .jsonl: line 2, column 2"),
        ("a.json", b"[" * 100_000, "cannot be read as .json: .*recursion"),
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
