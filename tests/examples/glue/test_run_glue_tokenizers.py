"""A tokenizer that is missing or of another model: training would see unknown tokens, or break in the middle."""

from collections.abc import Callable
from pathlib import Path

import pytest
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

from padnet_hf import PADNetError
from run_glue import main
from tests.models.samples import MODELS, small_dense

SEQUENCES = "AutoModelForSequenceClassification"
FAMILIES = [dense for dense, auto_class in MODELS if auto_class == SEQUENCES]


@pytest.fixture
def train(files: Callable[..., dict[str, str]], tmp_path: Path) -> Callable[..., dict[str, float]]:
    """A short training of the model in this folder."""

    def call(model: Path, *options: str) -> dict[str, float]:
        common = ["--model_name_or_path", str(model), "--train_file", files()["train"], "--do_train", "--use_pad"]
        common += ["--max_steps", "1", "--use_cpu", "--max_seq_length", "16", "--output_dir", str(tmp_path / "out")]
        return main([*common, *options])

    return call


@pytest.mark.parametrize("dense", FAMILIES)
def test_a_model_without_a_tokenizer_is_refused_and_one_that_is_named_is_taken(
    dense: str, train: Callable, tiny_bert: str, tmp_path: Path
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_bert)
    small_dense(dense, SEQUENCES, vocab_size=len(tokenizer), pad_token_id=0).save_pretrained(tmp_path / dense)
    with pytest.raises(PADNetError, match=rf"cannot load '.*{dense}': .*--tokenizer_name FOLDER"):
        train(tmp_path / dense)
    assert not (tmp_path / "out").exists()
    if dense == FAMILIES[0]:
        train(tmp_path / dense, "--tokenizer_name", tiny_bert)
        assert len(AutoTokenizer.from_pretrained(tmp_path / "out")) == len(tokenizer)


def test_a_tokenizer_of_a_larger_model_is_refused_before_the_partition(
    train: Callable, tiny_bert: str, tmp_path: Path
) -> None:
    config = AutoConfig.from_pretrained(tiny_bert, vocab_size=500)
    AutoModelForSequenceClassification.from_config(config).save_pretrained(tmp_path / "small")
    with pytest.raises(PADNetError, match=r"numbers tokens up to \d+ and more, but the model has embeddings for 500"):
        train(tmp_path / "small", "--tokenizer_name", tiny_bert)
    assert not (tmp_path / "out").exists()
