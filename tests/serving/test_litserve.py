"""The program of docs/serving.md for LitServe answers as transformers does."""

from pathlib import Path

import pytest

from tests.serving.classifying import check_answers, check_command, start
from tests.serving.samples import FORMS, made, save
from tests.serving.served import needs_engines

pytestmark = needs_engines
HEADING = "LitServe"


@pytest.mark.parametrize("form", FORMS)
def test_batches_are_answered_as_transformers_does(form: str, tmp_path: Path) -> None:
    model = made("bert", "AutoModelForSequenceClassification", form)
    save(model, tmp_path / "pad-bert")
    with start(HEADING, tmp_path, "/health") as server:
        check_command(server, HEADING, model)
        check_answers(server, "/predict", model)
        check_command(server, HEADING, model)
