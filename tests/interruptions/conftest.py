"""A narrow BERT and data for runs that are killed: four steps, saved after the second and the fourth."""

from pathlib import Path

import pandas as pd
import pytest

from tests.examples.glue.conftest import BAD, GOOD
from tests.examples.glue.conftest import tiny_bert as tiny_bert  # the fixture
from tests.forked import Script
from tests.forked import forks as forks  # the fixture

GRANULARITIES = {"element": [], "unit": ["--granularity", "unit"]}


@pytest.fixture(scope="session")
def training_file(tmp_path_factory: pytest.TempPathFactory) -> str:
    """64 sentences of different length, half of them good."""
    labelled = [(text, "good") for text in GOOD] + [(text, "bad") for text in BAD]
    rows = [(f"{text} {other}", label) for text, label in labelled for other, _ in labelled]
    path = tmp_path_factory.mktemp("data") / "train.csv"
    pd.DataFrame(rows, columns=["text", "label"]).to_csv(path, index=False)
    return str(path)


@pytest.fixture
def training(forks: object, tiny_bert: str, training_file: str, tmp_path: Path) -> Script:
    """run_glue.py with dropout and router noise into the folder `out`: a partition and four steps."""
    common = ["--model_name_or_path", tiny_bert, "--train_file", training_file, "--do_train", "--use_pad"]
    common += ["--num_experts", "4", "--imp_rounds", "2", "--imp_batches", "2", "--max_seq_length", "32"]
    common += ["--router_noise", "True"]
    common += ["--per_device_train_batch_size", "4", "--max_steps", "4", "--save_steps", "2", "--use_cpu"]
    common += ["--disable_tqdm", "True", "--output_dir", str(tmp_path / "out")]
    return Script(forks, "run_glue", common, tmp_path)
