from pathlib import Path

import pytest

import texts
from padnet_hf import PADNetError
from tests.examples.language_modeling.conftest import CHAT, TEMPLATE, new_tokenizer
from texts import Piece, chat_writer, plain_text, rows_of_text


def test_a_text_file_is_one_document_as_it_is(tmp_path: Path) -> None:
    content = "\ufeffone\r\n\n  two\rä€\n\nthree"
    path = tmp_path / "a.txt"
    path.write_bytes(content.encode("utf-8"))
    assert list(plain_text(str(path))(0, 1)) == [Piece(content[1:], ends=True)]


def test_a_long_file_is_cut_at_ends_of_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(texts, "_PIECE", 10)
    path = tmp_path / "a.txt"
    path.write_text("12345\n" * 5)
    pieces = list(plain_text(str(path))(0, 1))
    assert pieces == [Piece("12345\n12345\n", False), Piece("12345\n12345\n", False), Piece("12345\n", True)]
    path.write_text("12345\n" * 4)
    assert list(plain_text(str(path))(0, 1))[-1] == Piece("", True)  # the document ends all the same


def test_shares_of_a_file_are_its_lines_each_in_one_of_them(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("".join(f"{number:03d}\n" for number in range(100)))
    source = plain_text(str(path))
    first, last = ("".join(piece.text for piece in source(*share)) for share in ((0, 0.9), (0.9, 1)))
    assert first + last == path.read_text()
    assert last.startswith("090\n")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"good\nb\xe4d\n", "cannot be read as text: .*0xe4"),
        (b"good\nb\0d\n", "cannot be read as text: a 0 follows its byte 5"),
        ("good".encode("utf-16"), "cannot be read as text"),
    ],
)
def test_what_is_no_text_in_utf8_is_refused_with_the_place(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(content)
    with pytest.raises(PADNetError, match=f"{message}.*save it as plain text in UTF-8"):
        list(plain_text(str(path))(0, 1))


def test_a_row_falls_into_a_share_by_its_text_alone() -> None:
    values = [f"text {number}" for number in range(400)]
    source = rows_of_text(lambda: values, "text", "table")
    held_out = {piece.text for piece in source(0.9, 1)}
    assert 20 < len(held_out) < 60
    assert held_out.isdisjoint(piece.text for piece in source(0, 0.9))
    fewer = rows_of_text(lambda: values[::-2], "text", "table")
    assert {piece.text for piece in fewer(0.9, 1)} == held_out.intersection(values[::-2])


def test_empty_rows_are_passed_over_and_what_is_no_text_is_refused_with_its_row() -> None:
    assert [piece.text for piece in rows_of_text(lambda: ["a", "", "b"], "t", "f")(0, 1)] == ["a", "b"]
    for wrong, said in ((None, "None"), (3, "3"), ("\ud800x", "half a character at place 0")):
        with pytest.raises(PADNetError, match=f"f, row 2: column 't' holds {said}"):
            list(rows_of_text(lambda wrong=wrong: ["a", wrong], "t", "f")(0, 1))


def test_a_chat_is_what_its_template_makes_of_it() -> None:
    write = chat_writer(new_tokenizer(chat_template=TEMPLATE), "chat")
    (piece,) = rows_of_text(lambda: CHAT[:1], "chat", "f", write)(0, 1)
    assert piece == Piece("<user> what is 0?\n<assistant> 0, of course\n", ends=True, is_chat=True)
    for wrong in ("text", [], ["a"]):
        with pytest.raises(PADNetError, match=r"f, row 1: column 'chat' holds .* a list of messages"):
            list(rows_of_text(lambda wrong=wrong: [wrong], "chat", "f", write)(0, 1))


def test_a_chat_that_the_template_cannot_take_is_refused_with_its_row() -> None:
    write = chat_writer(new_tokenizer(chat_template="{{ raise_exception('roles must alternate') }}"), "chat")
    with pytest.raises(PADNetError, match=r"f, row 1: column 'chat' does not suit .* roles must alternate"):
        list(rows_of_text(lambda: CHAT[:1], "chat", "f", write)(0, 1))
