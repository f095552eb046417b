"""What a server of a classifier must do, whichever engine it is written for."""

import textwrap
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from padnet_hf.models.pad_model import PADModelMixin
from tests.serving.documented import block_of
from tests.serving.samples import LONGEST, TEXTS, probabilities
from tests.serving.served import PYTHON, Server, free_port, serving

PROGRAM = "serve_classifier.py"
TOLERANCE = 2e-6
BAD = [
    {"text": ""},
    {"text": "  "},
    {"text": "fine " * LONGEST},
    {"text": 5},
    {"other": "a fine film"},
    ["a"],
    b"no JSON",
]
"""Bodies that are no question."""

_NOTED = 'batch_size=open({path!r}, "a").write(f"{{os.getpid()}} {{len(texts)}}\\n") and len(texts)'


def start(heading: str, folder: Path, ready: str) -> AbstractContextManager[Server]:
    """The program of a section as a process. It notes how large its batches are, else it is as written."""
    program = block_of(heading, "python")
    assert program.count("batch_size=len(texts)") == 1
    program = program.replace("batch_size=len(texts)", _NOTED.format(path=str(folder / "batches")))
    (folder / PROGRAM).write_text(program)
    return serving([PYTHON, PROGRAM], folder, free_port(), ready, RAY_USAGE_STATS_ENABLED="0")


def batches_of(server: Server) -> list[tuple[int, int]]:
    """Process and size of all batches so far."""
    lines = server.log.with_name("batches").read_text().splitlines()
    return [(int(process), int(size)) for process, size in map(str.split, lines)]


def check_answers(server: Server, path: str, model: PADModelMixin) -> None:
    """Many clients at once, some of whom ask what cannot be answered: all others get transformers' probabilities."""
    questions = [{"text": text} for text in TEXTS]
    asked = [*questions, *BAD] * 5
    for body, (status, found) in zip(asked, server.ask_all(path, asked), strict=True):
        if body in questions:
            assert (status, found) == (200, pytest.approx(probabilities(model, body["text"]), abs=TOLERANCE, rel=0))
        else:
            assert 400 <= status < 500, (body, status, found)
    sizes = [size for _, size in batches_of(server)]
    assert sum(sizes) >= 5 * len(questions)
    assert 1 < max(sizes) <= 8


def check_command(server: Server, heading: str, model: PADModelMixin) -> None:
    """What the document asks."""
    status, found = server.curl(textwrap.dedent(block_of(heading, "bash")))
    assert (status, found) == (200, pytest.approx(probabilities(model, "a fine film"), abs=TOLERANCE, rel=0))
