"""The example's modules lie beside each other, as a script's neighbours: put their folder on the path."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[3] / "examples" / "glue"))

import pandas as pd
from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification, set_seed

import run_glue
from embedded import embedded_model

GOOD = ("a warm and funny film", "a gorgeous witty movie", "truly moving", "great fun from start to end")
BAD = ("dull and far too long", "a lazy waste of talent", "painfully bad", "no fun at all")


@pytest.fixture(scope="session")
def script() -> Path:
    return Path(__file__).parents[3] / "examples" / "glue" / "run_glue.py"


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Folder of a BERT of two narrow layers, seeded, with MiniLM's tokenizer."""
    folder = str(tmp_path_factory.mktemp("tiny_bert"))
    tokenizer = AutoTokenizer.from_pretrained(embedded_model())
    set_seed(0)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=64,
    )
    BertForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def reviews() -> pd.DataFrame:
    """Eight sentences, four `good` and four `bad`."""
    rows = [(text, "good") for text in GOOD] + [(text, "bad") for text in BAD]
    return pd.DataFrame(rows, columns=["text", "label"])


@pytest.fixture
def files(tmp_path: Path, reviews: pd.DataFrame) -> Callable[..., dict[str, str]]:
    """Write the reviews as train, validation and test files; give other tables by the split's name."""

    def write(suffix: str = ".csv", **tables: pd.DataFrame) -> dict[str, str]:
        paths = {}
        for split in ("train", "validation", "test"):
            table, path = tables.get(split, reviews), tmp_path / f"{split}{suffix}"
            if suffix == ".parquet":
                table.to_parquet(path)
            elif suffix in (".json", ".jsonl"):
                table.to_json(path, orient="records", lines=suffix == ".jsonl")
            else:
                table.to_csv(path, index=False, sep="\t" if suffix == ".tsv" else ",")
            paths[split] = str(path)
        return paths

    return write


@pytest.fixture
def run(tiny_bert: str, tmp_path: Path) -> Callable[..., dict[str, float]]:
    """main() on the narrow BERT, into the folder `out`, quiet and small; later options win."""

    def call(*options: str) -> dict[str, float]:
        common = ["--model_name_or_path", tiny_bert, "--output_dir", str(tmp_path / "out"), "--max_seq_length", "32"]
        common += ["--per_device_train_batch_size", "4", "--use_cpu", "--disable_tqdm", "True"]
        return run_glue.main([*common, *options])

    return call
