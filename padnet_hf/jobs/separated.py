"""CSV and TSV with Python's own `csv`, in its strict form, and no row of another length than the header."""

import csv
import io
from collections.abc import Iterable

from padnet_hf.errors import PADNetError

Record = tuple[int, list[str]]
"""The line that a row begins in, and its fields."""


def parse_separated(text: str, separator: str) -> tuple[list[str], list[list[str]]]:
    """Header and rows of a file separated by "," or tabs; every field a string, empty lines passed over.

    In CSV, quotes stand around a field that holds a comma, a quote or a line break. In TSV a line is a row and quotes
    are text, as in GLUE's files, unless the file is, quotes included, what a CSV writer makes of its rows.

    Raises PADNetError, with the row and its line, if a row is longer or shorter than the header, quotes do not match or
    can be read in two ways, or two columns have the same name.
    """
    records = _tab_records(text) if separator == "\t" else _comma_records(text)
    if not records:
        raise PADNetError("it is empty, and needs a line of column names, and rows below")
    header = records[0][1]
    twice = [name for name in header if header.count(name) > 1]
    if twice:
        raise PADNetError(f"it has {header.count(twice[0])} columns named {twice[0]!r}: rename or remove them")
    _check_lengths(records, separator)
    return header, [fields for _, fields in records[1:]]


def _comma_records(text: str) -> list[Record]:
    quoted = _quoted_records(text, ",")
    if '"' in text and len(quoted) and len(quoted[0][1]) > 1:
        plain = _plain_records(text, ",")
        if _is_even(plain) and len(plain) > len(quoted):
            raise PADNetError(
                f"it has quotes that can be read in two ways: as text, which gives {len(plain) - 1} rows, or "
                f"around fields over several lines, {len(quoted) - 1} rows; double the quotes inside of a text"
            )
    return quoted


def _tab_records(text: str) -> list[Record]:
    plain = _plain_records(text, "\t")
    if '"' not in text:
        return plain
    try:
        quoted = _quoted_records(text, "\t")
    except PADNetError:
        return plain
    own = _one_kind_of_lines(text)
    if _written(quoted, csv.QUOTE_ALL) == own:
        return quoted
    may_be = len(quoted) == len(plain) or not _is_even(plain)
    return quoted if may_be and _written(quoted, csv.QUOTE_MINIMAL) == own else plain


def _plain_records(text: str, separator: str) -> list[Record]:
    lines = enumerate(_one_kind_of_lines(text).split("\n"), 1)
    return [(number, line.split(separator)) for number, line in lines if line]


def _quoted_records(text: str, separator: str) -> list[Record]:
    longest = csv.field_size_limit(2**31 - 1)  # 131,072 characters otherwise
    reader, records, line = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True), [], 1
    try:
        for fields in reader:
            records += [(line, fields)] if fields else []
            line = reader.line_num + 1
    except csv.Error as error:
        raise PADNetError(
            f"row {len(records)} (line {line}): its quotes do not match ({error}); put a field with quotes "
            "into quotes, and double those inside"
        ) from error
    finally:
        csv.field_size_limit(longest)
    return records


def _written(records: Iterable[Record], quoting: int) -> str:
    """The rows as a CSV writer writes them, with tabs."""
    file = io.StringIO(newline="")
    writer = csv.writer(file, delimiter="\t", quoting=quoting, lineterminator="\n")
    writer.writerows(fields for _, fields in records)
    return _one_kind_of_lines(file.getvalue())


def _one_kind_of_lines(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n").rstrip("\n")


def _is_even(records: list[Record]) -> bool:
    return len({len(fields) for _, fields in records}) == 1


def _check_lengths(records: list[Record], separator: str) -> None:
    width = len(records[0][1])
    for row, (line, fields) in enumerate(records[1:], 1):
        if len(fields) == width:
            continue
        names = {",": "comma", "\t": "tab"}
        remedy = "fill in the missing ones"
        if len(fields) > width:
            remedy = "put quotes around a field that holds a comma" if separator == "," else "remove tabs inside a text"
            if all(not others[-1] and len(others) == width + 1 for _, others in records[1:]):
                remedy = f"every row ends in a {names[separator]}: remove it, or give the header one too"
        raise PADNetError(f"row {row} (line {line}) has {_fields(len(fields))}, but the header has {width}: {remedy}")


def _fields(count: int) -> str:
    return "1 field" if count == 1 else f"{count} fields"
