from pathlib import Path

import pytest

from studies.cell.code_version import ROOT, SOURCES, code_version

SOURCE = '''"""What it is."""


def double(value: int) -> int:
    """Twice."""
    return 2 * value  # or value + value
'''


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for folder in SOURCES:
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "code.py").write_text(SOURCE)
    return tmp_path


@pytest.mark.parametrize(
    ("old", "new", "changes"),
    [
        ("2 * value", "value * 2", True),
        ("def double", "def twice", True),
        ("Twice.", "Two times.", False),
        ("What it is.", "What it does.", False),
        ("  # or value + value", "", False),
        ("\n\n\n", "\n\n", False),
    ],
)
@pytest.mark.parametrize("folder", SOURCES)
def test_code_changes_the_version_and_words_do_not(folder: str, old: str, new: str, changes: bool, tree: Path) -> None:
    before = code_version.__wrapped__(tree)
    (tree / folder / "code.py").write_text(SOURCE.replace(old, new))
    assert (code_version.__wrapped__(tree) != before) == changes


def test_a_new_file_changes_the_version(tree: Path) -> None:
    before = code_version.__wrapped__(tree)
    (tree / SOURCES[0] / "new.py").write_text("")
    assert code_version.__wrapped__(tree) != before


def test_it_is_the_same_in_every_version_of_python(tree: Path) -> None:
    for folder in SOURCES:
        (tree / folder / "code.py").write_text('def shown(name, width):\n    return f"{name:<{width}}"\n')
    assert code_version.__wrapped__(tree) == "1473a57e69b0"  # in Python 3.10.13, 3.11.7, 3.12.1 and 3.13.0


def test_all_sources_are_there() -> None:
    assert all(any((ROOT / folder).rglob("*.py")) for folder in SOURCES)
    assert len(code_version()) == 12
