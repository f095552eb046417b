"""Archives that are not what they should be are refused, and nothing half done stays."""

import io
import tarfile
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.peer_suite.sdist import PACKAGE, TESTS, WITNESSES, SdistError, download, put_in_place, unpack

VERSION = "1.2.3"


def make_archive(folder: Path, changes: dict[str, bytes | None]) -> Path:
    """An archive with what `unpack` looks for; `changes` replace or leave out files."""
    installed = Path(find_spec("transformers").origin).parent
    files = {f"tests/{name}": b"" for name in TESTS}
    files |= {f"src/transformers/{name}": (installed / name).read_bytes() for name in WITNESSES}
    archive = folder / f"transformers-{VERSION}.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        for name, content in (files | changes).items():
            if content is not None:
                member = tarfile.TarInfo(f"transformers-{VERSION}/{name}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    return archive


def test_only_the_tests_are_unpacked_as_a_package(tmp_path: Path) -> None:
    unpack(make_archive(tmp_path, {"tests/test_other.py": b"", "setup.py": b""}), VERSION, tmp_path / PACKAGE)
    top = {path.name for path in (tmp_path / PACKAGE).glob("*.py")}
    assert top == {"__init__.py", *TESTS}
    assert {path.name for path in tmp_path.iterdir()} == {PACKAGE, f"transformers-{VERSION}.tar.gz"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({f"tests/{TESTS[0]}": None}, "has no .*" + TESTS[0]),
        ({f"src/transformers/{WITNESSES[0]}": b"other"}, f"{WITNESSES[0]} of the installed transformers is not"),
    ],
    ids=["file missing", "other code"],
)
def test_an_archive_that_does_not_fit_is_refused(tmp_path: Path, changes: dict, message: str) -> None:
    with pytest.raises(SdistError, match=message):
        unpack(make_archive(tmp_path, changes), VERSION, tmp_path / PACKAGE)
    assert not (tmp_path / PACKAGE).exists()


def test_links_out_of_the_folder_are_refused(tmp_path: Path) -> None:
    archive = tmp_path / f"transformers-{VERSION}.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        member = tarfile.TarInfo(f"transformers-{VERSION}/tests/{TESTS[0]}")
        member.type, member.linkname = tarfile.SYMTYPE, "../../../../etc/passwd"
        tar.addfile(member)
    with pytest.raises(tarfile.FilterError):
        unpack(archive, VERSION, tmp_path / PACKAGE)


def test_a_version_that_no_registry_has_is_named(tmp_path: Path) -> None:
    with pytest.raises(SdistError, match=r"transformers 0\.0\.0\.dev0, the installed version"):
        download("0.0.0.dev0", tmp_path)


def test_whoever_is_first_wins(tmp_path: Path) -> None:
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "mark").write_text(name)
        put_in_place(tmp_path / name, tmp_path / "final")
    assert (tmp_path / "final" / "mark").read_text() == "first"
