"""Narrow models and data for runs that are killed: four steps, saved after the second and the fourth."""

import json
from pathlib import Path

import pandas as pd
import pytest

from tests.examples.glue.conftest import BAD, GOOD
from tests.examples.glue.conftest import tiny_bert as tiny_bert  # the fixture
from tests.examples.language_modeling.conftest import LINES
from tests.examples.language_modeling.conftest import tiny_llama as tiny_llama  # the fixtures
from tests.examples.language_modeling.conftest import tokenizer as tokenizer
from tests.examples.language_modeling.conftest import tokenizer_folder as tokenizer_folder
from tests.forked import Script
from tests.forked import forks as forks  # the fixture

SHAPE = "hidden_size=16,intermediate_size=32,num_hidden_layers=2,num_attention_heads=2,max_position_embeddings=64"


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
    own = ["--model_name_or_path", tiny_bert, "--train_file", training_file, "--max_seq_length", "32"]
    return Script(forks, "run_glue", [*own, *_common(tmp_path)], tmp_path)


@pytest.fixture(scope="session")
def text_file(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Functions, a row each."""
    path = tmp_path_factory.mktemp("data") / "train.jsonl"
    path.write_text("".join(json.dumps({"text": line}) + "\n" for line in LINES), encoding="utf-8")
    return str(path)


@pytest.fixture
def runs(training: Script, tiny_llama: str, tokenizer_folder: str, text_file: str, tmp_path: Path) -> dict[str, Script]:
    """The same of every kind: sentences by element and by unit, text in memory, text streamed to a new model."""
    text = ["--train_file", text_file, "--block_size", "32", "--expert_dropout", "0.1", "--granularity", "unit"]
    new = ["--model_type", "llama", "--config_overrides", SHAPE, "--tokenizer_name", tokenizer_folder]
    known, streamed = ["--model_name_or_path", tiny_llama], ["--streaming", "--shuffle_buffer", "8"]
    options = [*text, *_common(tmp_path)]
    by_unit = [*training.common, "--granularity", "unit"]
    return {
        "element": training,
        "unit": Script(training.context, "run_glue", by_unit, tmp_path),
        "text": Script(training.context, "run_clm", [*known, *options], tmp_path),
        "streamed": Script(training.context, "run_clm", [*new, *streamed, *options], tmp_path),
    }


def _common(folder: Path) -> list[str]:
    options = ["--do_train", "--use_pad", "--num_experts", "4", "--imp_rounds", "2", "--imp_batches", "2"]
    options += ["--router_noise", "True", "--per_device_train_batch_size", "4", "--max_steps", "4", "--save_steps", "2"]
    return [*options, "--use_cpu", "--disable_tqdm", "True", "--output_dir", str(folder / "out")]
