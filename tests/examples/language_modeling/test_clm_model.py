from pathlib import Path

import pytest
from transformers import LlamaConfig, PreTrainedTokenizerBase

from clm_arguments import ModelArguments, PADArguments
from clm_model import block_length, check_words, load_tokenizer, new_config
from padnet_hf import PADLlamaConfig, PADNetError
from tests.examples.language_modeling.conftest import new_tokenizer

SHAPE = "hidden_size=24,intermediate_size=32,num_hidden_layers=1,num_attention_heads=2"


def test_a_new_configuration_is_that_of_its_family_with_what_follows_from_the_overrides(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    model = ModelArguments(model_type="llama", config_overrides=SHAPE)
    dense = new_config(model, PADArguments(), tokenizer)
    assert type(dense) is LlamaConfig
    assert (dense.vocab_size, dense.eos_token_id, dense.num_key_value_heads, dense.head_dim) == (300, 0, 2, 12)
    pad = new_config(model, PADArguments(use_pad=True, num_experts=3), tokenizer)
    assert type(pad) is PADLlamaConfig
    assert (pad.num_experts, pad.hidden_size, pad.partition) == (3, 24, None)


def test_a_configuration_in_a_folder_is_the_start_of_a_new_one(
    tiny_llama: str, tokenizer: PreTrainedTokenizerBase
) -> None:
    model = ModelArguments(config_name=tiny_llama, config_overrides="num_hidden_layers=1")
    config = new_config(model, PADArguments(), tokenizer)
    assert (config.num_hidden_layers, config.hidden_size, config.max_position_embeddings) == (1, 16, 64)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"model_type": "lama"}, "--model_type 'lama' is no type of model; --model_type is one of .*llama.*qwen3"),
        ({"model_type": "bert"}, "'bert' is a model of type 'bert', which writes no text"),
        ({"model_type": "gpt2"}, "'gpt2' has no PAD model"),
        ({"model_type": "pad_llama"}, "'pad_llama'"),
        (
            {"model_type": "llama", "config_overrides": "hiden_size=3"},
            "overrides hiden_size=3: key hiden_size",
        ),
        ({"model_type": "llama", "config_overrides": "hidden_size"}, 'write it as "hidden_size=256'),
        ({"model_type": "llama", "config_overrides": "hidden_size=many"}, "--config_overrides hidden_size=many"),
        (
            {"model_type": "llama", "config_overrides": "hidden_size=25,num_attention_heads=2"},
            "--config_overrides hidden_size=25,num_attention_heads=2",
        ),
    ],
)
def test_a_new_model_that_cannot_be_is_refused(
    fields: dict[str, str], message: str, tokenizer: PreTrainedTokenizerBase
) -> None:
    with pytest.raises(PADNetError, match=message):
        new_config(ModelArguments(**fields), PADArguments(), tokenizer)


def test_a_tokenizer_with_more_words_than_embeddings_is_refused(tokenizer: PreTrainedTokenizerBase) -> None:
    check_words(LlamaConfig(vocab_size=300), tokenizer)
    with pytest.raises(PADNetError, match="has 300 words, but the model has embeddings for 299 of them"):
        check_words(LlamaConfig(vocab_size=299), tokenizer)


def test_a_block_is_as_long_as_asked_or_as_the_model_takes_up_to_1024() -> None:
    assert block_length(LlamaConfig(max_position_embeddings=64), None) == 64
    assert block_length(LlamaConfig(max_position_embeddings=4096), None) == 1024
    assert block_length(LlamaConfig(max_position_embeddings=4096), 4096) == 4096
    with pytest.raises(PADNetError, match="--block_size is 65, but this model takes at most 64 tokens"):
        block_length(LlamaConfig(max_position_embeddings=64), 65)


def test_a_tokenizer_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PADNetError, match=r"cannot load .*--tokenizer_name FOLDER"):
        load_tokenizer(None, ModelArguments(tokenizer_name=str(tmp_path)))


def test_the_tokenizer_asked_for_comes_before_the_models(tiny_llama: str, tmp_path: Path) -> None:
    new_tokenizer(270).save_pretrained(tmp_path)
    assert len(load_tokenizer(tiny_llama, ModelArguments())) == 300
    assert len(load_tokenizer(tiny_llama, ModelArguments(tokenizer_name=str(tmp_path)))) == 270
