"""Classifiers of language models, whose tokenizers often have nothing to pad with."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from padnet_hf import PADNetError
from tests.examples.language_modeling.conftest import new_tokenizer
from tests.models.samples import small_dense

TEXTS = ["a fine film", "no", "it is what it is, and that is not much"]
OPTIONS = ["--use_pad", "--granularity", "unit", "--num_experts", "4", "--max_seq_length", "16", "--max_steps", "2"]


def language_model(folder: Path, **special: str | None) -> str:
    """A Llama and its tokenizer, neither of which knows padding."""
    tokenizer = new_tokenizer(**special)
    size = {"vocab_size": len(tokenizer), "pad_token_id": None, "eos_token_id": 0, "bos_token_id": None}
    small_dense("llama", "AutoModelForCausalLM", **size).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def test_texts_are_padded_with_the_end_of_text_which_the_classifier_overlooks(
    run: Callable[..., dict[str, float]], files: Callable[..., dict[str, str]], tmp_path: Path
) -> None:
    source, data = language_model(tmp_path / "llama"), files()
    own = ["--model_name_or_path", source, "--train_file", data["train"], "--validation_file", data["validation"]]
    metrics = run(*own, *OPTIONS, "--do_train", "--do_eval")
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "out").eval()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert model.is_partitioned
    assert (tokenizer.pad_token, model.config.pad_token_id) == ("<end>", 0)
    with torch.no_grad():
        together = model(**tokenizer(TEXTS, padding=True, return_tensors="pt")).logits
        alone = torch.cat([model(**tokenizer(text, return_tensors="pt")).logits for text in TEXTS])
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-6)
    again = ["--model_name_or_path", str(tmp_path / "out"), "--validation_file", data["validation"]]
    assert run(*again, "--max_seq_length", "16", "--do_eval", "--per_device_eval_batch_size", "1")[
        "eval_loss"
    ] == pytest.approx(metrics["eval_loss"], rel=1e-5)


def test_without_an_end_of_text_it_is_one_early_error(
    run: Callable[..., dict[str, float]], files: Callable[..., dict[str, str]], tmp_path: Path
) -> None:
    source = language_model(tmp_path / "llama", eos_token=None)
    with pytest.raises(PADNetError, match="neither a pad_token nor an eos_token"):
        run("--model_name_or_path", source, "--train_file", files()["train"], *OPTIONS, "--do_train")
    assert not (tmp_path / "out").exists()
