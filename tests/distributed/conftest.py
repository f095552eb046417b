"""Models without chance, so that runs in one process and in several can be compared, and data for them."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

from tests.examples.glue.conftest import tiny_bert as tiny_bert  # the fixture
from tests.examples.language_modeling.conftest import tiny_llama as tiny_llama  # the fixtures
from tests.examples.language_modeling.conftest import tokenizer as tokenizer
from tests.forked import Script
from tests.forked import forks as forks  # the fixture
from tests.interruptions.conftest import text_file as text_file  # the fixtures
from tests.interruptions.conftest import training_file as training_file

EXACT = ("--router_noise", "False", "--balance_loss_coef", "0", "--router_init_std", "0")
"""Without what differs between one process and two by design: noise, and a loss over the tokens of one process.
Routers start at zero: from other weights, Adam makes of a router's small gradients 2.4e-6 of rounding (seen)."""


FOUR_STEPS = ("--do_train", "--do_eval", "--use_pad", "--num_experts", "4", *EXACT, "--max_steps", "4", "--save_steps",
              "2", "--learning_rate", "1e-2", "--disable_tqdm", "True",
              # transformers weights the loss of a batch that is not full in another way on two processes
              "--per_device_eval_batch_size", "1")  # fmt: skip


@pytest.fixture(scope="session")
def still_bert(tiny_bert: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The narrow BERT without dropout."""
    folder = tmp_path_factory.mktemp("still") / "bert"
    shutil.copytree(tiny_bert, folder)
    config = json.loads((folder / "config.json").read_text())
    config |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    (folder / "config.json").write_text(json.dumps(config))
    return str(folder)


@pytest.fixture(scope="session")
def validation_file(training_file: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """13 sentences: not a multiple of two processes, nor of their batches."""
    path = tmp_path_factory.mktemp("data") / "validation.csv"
    pd.read_csv(training_file)[::5].to_csv(path, index=False)
    return str(path)


@pytest.fixture
def common(still_bert: str, training_file: str, validation_file: str) -> list[str]:
    """Options of run_glue.py: a partition, four steps, an evaluation."""
    options = ["--model_name_or_path", still_bert, "--train_file", training_file, "--validation_file", validation_file]
    return [*options, "--max_seq_length", "32", *FOUR_STEPS]


@pytest.fixture
def training(forks: object, common: list[str], tmp_path: Path) -> Script:
    return Script(forks, "run_glue", [*common, "--use_cpu", "--output_dir", str(tmp_path / "out")], tmp_path)


@pytest.fixture
def runs(training: Script, tiny_llama: str, text_file: str, tmp_path: Path) -> dict[str, Script]:
    """The same of every kind: sentences by element and by unit, text by unit."""
    by_unit = ["--granularity", "unit", "--use_cpu", "--output_dir", str(tmp_path / "out")]
    text = ["--model_name_or_path", tiny_llama, "--train_file", text_file, "--validation_file", text_file]
    text += ["--block_size", "32", "--max_eval_samples", "13", *FOUR_STEPS]
    return {
        "element": training,
        "unit": Script(training.context, "run_glue", [*training.common, *by_unit], tmp_path),
        "text": Script(training.context, "run_clm", [*text, *by_unit], tmp_path),
    }
