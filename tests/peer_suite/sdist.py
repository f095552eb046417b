"""transformers' own tests, those of the installed version: fetched with pip as a source distribution, and cached."""

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

PACKAGE = "transformers_own_tests"
"""What the unpacked tests are called as a package."""

TESTS = (
    "test_modeling_common.py",
    "test_configuration_common.py",
    "test_backbone_common.py",
    "test_training_mixin.py",
)
"""What fits PAD models. Tests of pipelines look for tiny models on the Hub, those of FSDP need a plan that ours do not
have, those of tensor and expert parallelism what starts their processes, which is not in the source distribution (see
tests/distributed/); the rest is about tokenizers and processors."""

# What these import but the source distribution lacks. Tests of generation would have nothing to test in encoders, those
# of export are missed. The arguments are our choice: any that every configuration takes would do.
STUBS = {
    "exporters/test_export.py": "class ExportTesterMixin:\n    pass\n",
    "generation/test_utils.py": "class GenerationTesterMixin:\n    pass\n",
    "utils/test_configuration_utils.py": (
        "config_common_kwargs = {'output_hidden_states': True, 'return_dict': False, 'dtype': 'float16',\n"
        "    'chunk_size_feed_forward': 3, 'problem_type': 'regression', 'id2label': {0: 'no', 1: 'yes', 2: 'both'}}\n"
    ),
}

# The tests belong to the installed code if the code that was published with them is the installed code.
WITNESSES = ("modeling_utils.py", "testing_utils.py")


class SdistError(RuntimeError):
    """The tests could not be had; the message says why and what helps."""


def provide_tests() -> Path:
    """The folder that holds `PACKAGE`, inside the virtual environment; fetched when it is not there yet."""
    version = metadata.version("transformers")
    recipe = hashlib.sha256(repr((TESTS, STUBS)).encode()).hexdigest()[:8]
    folder = Path(sys.prefix) / "peer-suite" / f"transformers-{version}-{recipe}"
    if not folder.exists():
        folder.parent.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
            archive = download(version, Path(scratch))
            build = Path(scratch) / "build"
            unpack(archive, version, build / PACKAGE)
            put_in_place(build, folder)
    return folder


def download(version: str, folder: Path) -> Path:
    """transformers' source distribution from the registry that pip is set up for, which also compares its hash."""
    # Without build isolation: pip asks the archive for its metadata, and what that takes is installed.
    options = ["--no-deps", "--no-binary=transformers", "--no-build-isolation", "--disable-pip-version-check", "-q"]
    command = [sys.executable, "-m", "pip", "download", *options, f"--dest={folder}", f"transformers=={version}"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    archives = list(folder.glob("transformers-*.tar.gz"))
    if result.returncode != 0 or len(archives) != 1:
        raise SdistError(
            f"pip did not fetch the source distribution of transformers {version}, the installed version, whose tests "
            f"are to be run. A registry must be reachable and have it; pip said:\n{result.stderr.strip()}"
        )
    return archives[0]


def unpack(archive: Path, version: str, folder: Path) -> None:
    """Write TESTS out of the archive, and STUBS, into `folder` as a package. Raises SdistError if they do not fit."""
    root = f"transformers-{version}"
    with tarfile.open(archive) as tar, tempfile.TemporaryDirectory(dir=archive.parent) as scratch:
        wanted = [*(f"tests/{name}" for name in TESTS), *(f"src/transformers/{name}" for name in WITNESSES)]
        for name in wanted:
            try:
                tar.extract(f"{root}/{name}", scratch, filter="data")
            except KeyError:
                raise SdistError(f"{archive.name} has no {root}/{name}: adapt tests/peer_suite/sdist.py") from None
        unpacked = Path(scratch) / root
        _compare(unpacked / "src" / "transformers", version)
        folder.mkdir(parents=True)
        for name in TESTS:
            shutil.copy(unpacked / "tests" / name, folder / name)
    for name, text in STUBS.items():
        (folder / name).parent.mkdir()
        (folder / name).write_text(text, encoding="utf-8")
    for package in (folder, *(path for path in folder.iterdir() if path.is_dir())):
        (package / "__init__.py").touch()


def _compare(published: Path, version: str) -> None:
    installed = Path(find_spec("transformers").origin).parent
    for name in WITNESSES:
        if (published / name).read_bytes() != (installed / name).read_bytes():
            raise SdistError(
                f"{name} of the installed transformers is not that of the published version {version}, so that "
                "version's tests say nothing about it: install transformers anew."
            )


def put_in_place(build: Path, folder: Path) -> None:
    """Give the finished folder its name at once; if another process was faster, its folder stays."""
    try:
        os.rename(build, folder)
    except OSError:
        if not folder.is_dir():
            raise
