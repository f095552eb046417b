from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from datasets import Dataset, DatasetDict
from transformers import PreTrainedTokenizerBase

import text_rows
from clm_arguments import DataArguments
from clm_data import load_corpus, read_blocks, stream_blocks
from padnet_hf import PADNetError
from tests.examples.language_modeling.conftest import CHAT, LINES

Tables = Callable[[str, pd.DataFrame], str]
BOTH = ("train", "validation")


def texts(corpus, split: str) -> list[str]:
    return [piece.text for piece in corpus.splits[split]()]


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
@pytest.mark.parametrize("streaming", [False, True])
def test_every_format_gives_the_same_text_in_memory_and_streamed(
    suffix: str, streaming: bool, tables: Tables, tokenizer: PreTrainedTokenizerBase
) -> None:
    path = tables(suffix, pd.DataFrame({"id": range(len(LINES)), "text": LINES}))
    corpus = load_corpus(DataArguments(train_file=path, streaming=streaming), tokenizer, BOTH)
    assert set(texts(corpus, "train")).isdisjoint(texts(corpus, "validation"))
    assert sorted(texts(corpus, "train") + texts(corpus, "validation")) == sorted(LINES)
    assert str(corpus.columns) == "input 'text', no label; not read: 'id'"
    assert texts(corpus, "train") == texts(corpus, "train")  # from the first one on, every time


def test_streamed_blocks_are_those_in_memory_in_another_order(
    tables: Tables, tokenizer: PreTrainedTokenizerBase
) -> None:
    path = tables(".jsonl", pd.DataFrame({"text": LINES}))
    data = DataArguments(train_file=path, streaming=True, shuffle_buffer=5)
    corpus = load_corpus(data, tokenizer, BOTH)
    stream = stream_blocks(corpus, tokenizer, data, 32, seed=1)
    found = [tuple(item["input_ids"].tolist()) for item in stream]
    assert found == [tuple(item["input_ids"].tolist()) for item in stream]
    whole = read_blocks(corpus, "train", tokenizer, DataArguments(train_file=path), 32)
    expected = [tuple(ids) for ids in whole.ids.tolist()]
    assert found != expected
    assert sorted(found) == sorted(expected)


def test_text_of_ones_own_is_held_out_instead_of_a_part(
    text_file: str, tmp_path: Path, tokenizer: PreTrainedTokenizerBase
) -> None:
    other = tmp_path / "other.md"
    other.write_text("held out\n")
    corpus = load_corpus(DataArguments(train_file=text_file, validation_file=str(other)), tokenizer, BOTH)
    assert (texts(corpus, "train"), texts(corpus, "validation")) == (["".join(LINES)], ["held out\n"])


@pytest.mark.parametrize("streaming", [False, True])
def test_a_data_set_of_the_hub_keeps_its_own_held_out_text(
    streaming: bool, tokenizer: PreTrainedTokenizerBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load_dataset(path: str, *, name: str, streaming: bool, **_: object) -> dict:
        assert (path, name) == ("org/texts", "small")
        found = DatasetDict({split: Dataset.from_dict({"text": [split, "", "b"]}) for split in ("train", "validation")})
        return {key: rows.to_iterable_dataset() for key, rows in found.items()} if streaming else found

    monkeypatch.setattr(text_rows, "load_dataset", load_dataset)
    data = DataArguments(dataset_name="org/texts", dataset_config_name="small", streaming=streaming)
    corpus = load_corpus(data, tokenizer, BOTH)
    assert (texts(corpus, "train"), texts(corpus, "validation")) == (["train", "b"], ["validation", "b"])
    assert corpus.name == "org/texts"


def refused(message: str, tokenizer: PreTrainedTokenizerBase, **fields: object) -> None:
    with pytest.raises(PADNetError, match=message):
        load_corpus(DataArguments(**fields), tokenizer, BOTH)


def test_text_that_is_missing_empty_or_of_another_kind_is_refused(
    text_file: str, tables: Tables, tmp_path: Path, tokenizer: PreTrainedTokenizerBase
) -> None:
    empty = tmp_path / "empty.txt"
    empty.touch()
    refused("nowhere.txt' is not a file", tokenizer, train_file="nowhere.txt")
    refused("nowhere.jsonl' is not a file", tokenizer, train_file="nowhere.jsonl", streaming=True)
    refused("empty.txt' is empty: it needs text", tokenizer, train_file=str(empty))
    refused("no text for 'train': add --train_file", tokenizer, validation_file=text_file)
    refused("validation_split_percentage above 0", tokenizer, train_file=text_file, validation_split_percentage=0)
    refused("--text_column a needs a table, but", tokenizer, train_file=text_file, text_column="a")
    refused("--streaming reads plain text", tokenizer, train_file=csv(tmp_path), streaming=True)
    blank = tables(".jsonl", pd.DataFrame({"text": ["", ""]}))
    refused("holds no text for 'train'", tokenizer, train_file=blank)


def csv(folder: Path) -> str:
    (folder / "t.csv").write_text("text\na\n")
    return str(folder / "t.csv")


def test_a_column_that_is_not_there_or_not_clear_is_refused(tables: Tables, tokenizer: PreTrainedTokenizerBase) -> None:
    path = tables(".jsonl", pd.DataFrame({"sentence1": ["a b"], "sentence2": ["c d"], "chat": [CHAT[0]]}))
    for streaming in (False, True):
        refused("the texts 'sentence1' and 'sentence2', and a", tokenizer, train_file=path, streaming=streaming)
        refused("no column 'x'.*--text_column", tokenizer, train_file=path, text_column="x", streaming=streaming)
    refused("but the tokenizer has no chat template", tokenizer, train_file=path, messages_column="chat")


@pytest.mark.parametrize("streaming", [False, True])
def test_a_damaged_table_is_one_error(streaming: bool, tmp_path: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    for name, content in (("t.jsonl", '{"text": "a"}\n{"text": \n'), ("t.parquet", "PAR1 and nothing more")):
        path = tmp_path / name
        path.write_text(content)
        refused("cannot (be read|load)", tokenizer, train_file=str(path), streaming=streaming)


def test_less_than_a_block_is_refused_with_its_length(text_file: str, tokenizer: PreTrainedTokenizerBase) -> None:
    data = DataArguments(train_file=text_file, validation_split_percentage=1)
    corpus = load_corpus(data, tokenizer, BOTH)
    message = "fewer tokens for 'validation' than one block of 64: give more text, a larger --validation_split_percent"
    with pytest.raises(PADNetError, match=message):
        read_blocks(corpus, "validation", tokenizer, data, 64)
    with pytest.raises(PADNetError, match="fewer tokens for 'train' than one block of 100000"):
        stream_blocks(corpus, tokenizer, data, 100_000, 1)
