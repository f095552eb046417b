"""A task so small that a cell takes a second."""

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from studies.cell.settings import Cell
from studies.cell.tasks import TASKS
from tests.examples.glue.conftest import tiny_bert as tiny_bert  # the fixture

TINY = {"train_samples": 24, "max_seq_length": 16, "batch_size": 8, "epochs": 2, "learning_rate": 1e-3}


def tiny_cell(method: str, **fields: object) -> Cell:
    return Cell(**{"task": "mrpc", "method": method, "seed": 1, **TINY, **fields})


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two words that are the same or not, as an MRPC of 40 and 24 rows."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "mrpc").mkdir()
    words = ["film", "rain", "dog", "house", "a long way from home"]
    rows = [(first, second, int(first == second)) for first in words for second in words] * 2
    table = pd.DataFrame(rows, columns=["sentence1", "sentence2", "label"])
    table.head(40).to_parquet(folder / "mrpc" / "train.parquet")
    table.tail(24).to_parquet(folder / "mrpc" / "validation.parquet")
    return folder


@pytest.fixture
def _tiny_model(tiny_bert: str, monkeypatch: pytest.MonkeyPatch) -> None:
    task = TASKS["mrpc"]
    options = (*task.options, "--model_name_or_path", tiny_bert, "--use_cpu")
    monkeypatch.setitem(TASKS, "mrpc", replace(task, options=options))
