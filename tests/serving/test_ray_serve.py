"""The program of docs/serving.md for Ray Serve answers as transformers does."""

import tempfile
from pathlib import Path

import pytest

from tests.serving.classifying import batches_of, check_answers, check_command, start
from tests.serving.samples import FORMS, made, save
from tests.serving.served import needs_engines

pytestmark = needs_engines
HEADING = "Ray Serve"


@pytest.mark.parametrize("form", FORMS)
def test_two_copies_answer_as_transformers_does(form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = made("bert", "AutoModelForSequenceClassification", form)
    save(model, tmp_path / "pad-bert")
    with tempfile.TemporaryDirectory(prefix="ray") as short:  # its sockets' paths must be
        monkeypatch.setenv("RAY_TMPDIR", short)
        with start(HEADING, tmp_path, "/-/healthz") as server:
            check_command(server, HEADING, model)
            check_answers(server, "/", model)
            check_command(server, HEADING, model)
            assert len({process for process, _ in batches_of(server)}) == 2
