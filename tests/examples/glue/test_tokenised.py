import pandas as pd
import pytest
from transformers import AutoTokenizer

from tokenised import tokenise

FIELDS = {"num_labels": 2, "label2id": {"bad": 1, "good": 0}}


@pytest.fixture(scope="module")
def tokenizer(tiny_bert: str):
    return AutoTokenizer.from_pretrained(tiny_bert)


def test_texts_are_cut_but_not_padded_and_labels_numbered(tokenizer, reviews: pd.DataFrame) -> None:
    rows = tokenise(reviews, tokenizer, FIELDS, max_length=8)
    assert set(rows.column_names) == {"input_ids", "attention_mask", "token_type_ids", "label"}
    assert max(map(len, rows["input_ids"])) == 8 > min(map(len, rows["input_ids"]))
    assert list(rows["label"]) == [0] * 4 + [1] * 4


def test_pairs_are_one_input_with_two_types(tokenizer) -> None:
    rows = tokenise(pd.DataFrame({"text": ["a film"], "text_pair": ["a movie"]}), tokenizer, FIELDS, max_length=16)
    assert rows[0]["token_type_ids"] == [0, 0, 0, 0, 1, 1, 1]
    assert "label" not in rows.column_names


def test_a_regression_keeps_its_numbers(tokenizer) -> None:
    rows = tokenise(pd.DataFrame({"text": ["a"], "label": [2.5]}), tokenizer, {"num_labels": 1}, max_length=16)
    assert list(rows["label"]) == [2.5]
