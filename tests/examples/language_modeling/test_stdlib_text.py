import json
from pathlib import Path

import pytest

from byte_bpe import END_OF_TEXT, train_tokenizer
from padnet_hf import PADNetError
from stdlib_text import source_files, split_of, write_splits


@pytest.fixture
def library(tmp_path: Path) -> Path:
    root = tmp_path / "library"
    for name in ("a.py", "test/b.py", "json/c.py", "json/tests/d.py", "site-packages/e.py", "f.txt", "empty.py"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("" if name == "empty.py" else f"# {name}\n")
    (root / "old.py").write_bytes(b"# \xe9t\xe9\n")
    return root


def test_tests_and_what_is_installed_beside_the_library_are_left_out(library: Path) -> None:
    assert [path.as_posix() for path in source_files(library)] == ["a.py", "empty.py", "json/c.py", "old.py"]
    with pytest.raises(PADNetError, match="holds no Python files"):
        source_files(library / "json" / "tests" / "nothing")


def test_every_file_is_a_row_of_one_split_as_it_is(library: Path, tmp_path: Path) -> None:
    paths = write_splits(tmp_path / "text", root=library)
    rows = [json.loads(line) for path in paths.values() for line in path.read_text().splitlines()]
    assert {row["file"]: row["text"] for row in rows} == {"a.py": "# a.py\n", "json/c.py": "# json/c.py\n"}


def test_a_tenth_is_held_out_by_the_name_alone() -> None:
    names = [Path(f"package/module{number}.py") for number in range(1000)]
    held_out = [path for path in names if split_of(path) == "validation"]
    assert 70 < len(held_out) < 130
    assert split_of(Path("argparse.py")) == split_of(Path("./argparse.py")) == "train"


def test_a_tokenizer_of_ones_own_has_tokens_for_every_text() -> None:
    tokenizer = train_tokenizer(["def f(x):\n    return x\n"] * 5, 264)
    assert (len(tokenizer), tokenizer.eos_token) == (264, END_OF_TEXT)
    for text in ("  def ä€😀\r\n\t", "return  x ,"):
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    spans = tokenizer("  x", return_offsets_mapping=True)["offset_mapping"]
    assert (spans[0][0], spans[-1][1]) == (0, 3)  # white space belongs to its token
