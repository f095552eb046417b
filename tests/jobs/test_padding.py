"""Tokenizer and model mean the same token by padding, and what a model looks at is never padding."""

import logging

import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import BertConfig, GPT2Config, LlamaConfig, PreTrainedTokenizerFast

from padnet_hf import PADLlamaConfig, PADNetError
from padnet_hf.jobs.padding import agree_on_padding

WORDS = {"[A]": 0, "[B]": 1, "</s>": 2}


def tokenizer_of(**special: str) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer(WordLevel(dict(WORDS), unk_token="[A]")), **special)


@pytest.mark.parametrize("config_class", [LlamaConfig, PADLlamaConfig, GPT2Config])
def test_without_any_padding_it_is_the_end_of_text(config_class: type, caplog: pytest.LogCaptureFixture) -> None:
    tokenizer = tokenizer_of(eos_token="</s>")
    assert agree_on_padding(tokenizer, config_class(pad_token_id=None)) == {"pad_token_id": 2}
    assert tokenizer.pad_token == "</s>"
    assert any("padded with its eos_token, '</s>'" in message for message in caplog.messages)


@pytest.mark.parametrize("config_class", [LlamaConfig, BertConfig])
def test_the_token_that_one_of_them_knows_is_taken(config_class: type, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    tokenizer = tokenizer_of(eos_token="</s>")
    assert agree_on_padding(tokenizer, config_class(pad_token_id=1)) == {}
    assert tokenizer.pad_token_id == 1
    tokenizer = tokenizer_of(eos_token="</s>", pad_token="[B]")
    assert agree_on_padding(tokenizer, config_class(pad_token_id=None)) == {"pad_token_id": 1}
    assert tokenizer.pad_token_id == 1
    assert not caplog.messages


def test_where_they_differ_the_model_decides_that_looks_for_padding() -> None:
    for config_class, expected in ((LlamaConfig, 0), (PADLlamaConfig, 0), (BertConfig, 1)):
        tokenizer = tokenizer_of(pad_token="[B]")
        assert agree_on_padding(tokenizer, config_class(pad_token_id=0)) == {}
        assert tokenizer.pad_token_id == expected


@pytest.mark.parametrize("own", [-1, 3])
def test_a_token_that_the_tokenizer_lacks_is_no_padding(own: int) -> None:
    tokenizer = tokenizer_of(pad_token="[B]")
    config = LlamaConfig(vocab_size=10, pad_token_id=None)
    config.pad_token_id = own
    assert agree_on_padding(tokenizer, config) == {"pad_token_id": 1}
    assert tokenizer.pad_token_id == 1


def test_a_tokenizer_without_an_end_is_refused() -> None:
    with pytest.raises(PADNetError, match="neither a pad_token nor an eos_token"):
        agree_on_padding(tokenizer_of(), LlamaConfig(pad_token_id=None))
