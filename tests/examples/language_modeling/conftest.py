"""The example's modules lie beside each other, as a script's neighbours; a narrow Llama with a tokenizer of its own."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[3] / "examples" / "language_modeling"))

import pandas as pd
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerBase, PreTrainedTokenizerFast, set_seed

import run_clm

LINES = [f"def f{number}(x):\n    return x + {number} * {number % 7}\n" for number in range(120)]
"""Short functions, to learn and to measure on."""

CHAT = [
    [{"role": "user", "content": f"what is {number}?"}, {"role": "assistant", "content": f"{number}, of course"}]
    for number in range(60)
]
TEMPLATE = "{% for m in messages %}<{{ m['role'] }}> {{ m['content'] }}\n{% endfor %}"


def new_tokenizer(size: int = 300, **fields: str | None) -> PreTrainedTokenizerFast:
    """A byte-level BPE of the lines, whose only special token is `<end>`."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=["<end>"], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(LINES, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **{"eos_token": "<end>"} | fields)


@pytest.fixture(scope="session")
def script() -> Path:
    return Path(__file__).parents[3] / "examples" / "language_modeling" / "run_clm.py"


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerBase:
    return new_tokenizer()


@pytest.fixture(scope="session")
def tokenizer_folder(tokenizer: PreTrainedTokenizerBase, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = str(tmp_path_factory.mktemp("tokenizer"))
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_llama(tokenizer: PreTrainedTokenizerBase, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Folder of a Llama of two narrow layers and 64 positions, seeded, with the tokenizer."""
    folder = str(tmp_path_factory.mktemp("tiny_llama"))
    set_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=64, eos_token_id=tokenizer.eos_token_id, bos_token_id=None,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def text_file(tmp_path: Path) -> str:
    path = tmp_path / "functions.txt"
    path.write_text("".join(LINES), encoding="utf-8")
    return str(path)


@pytest.fixture
def tables(tmp_path: Path) -> Callable[[str, pd.DataFrame], str]:
    """Write a table into a file of this suffix."""

    def write(suffix: str, table: pd.DataFrame) -> str:
        path = tmp_path / f"table{suffix}"
        if suffix == ".parquet":
            table.to_parquet(path)
        else:
            rows = table.to_dict("records")
            path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return str(path)

    return write


@pytest.fixture
def run(tiny_llama: str, tmp_path: Path) -> Callable[..., dict[str, float]]:
    """main() on the narrow Llama, into the folder `out`, quiet and small; later options win."""

    def call(*options: str) -> dict[str, float]:
        common = ["--output_dir", str(tmp_path / "out"), "--block_size", "32", "--use_cpu", "--disable_tqdm", "True"]
        common += ["--per_device_train_batch_size", "4"]
        model = [] if "--model_type" in options or "--config_name" in options else ["--model_name_or_path", tiny_llama]
        return run_clm.main([*model, *common, *options])

    return call
