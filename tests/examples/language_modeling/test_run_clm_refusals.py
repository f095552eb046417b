"""Bad input of a run: one error with value and remedy, before the model is read, and an earlier run stays."""

import re
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

import run_clm
from padnet_hf import PADNetError
from padnet_hf.jobs import rehearsal
from tests.examples.language_modeling.conftest import CHAT, new_tokenizer

Run = Callable[..., dict[str, float]]
Tables = Callable[[str, pd.DataFrame], str]
PAD = ("--use_pad", "--granularity", "unit", "--num_experts", "2", "--imp_rounds", "1")


@pytest.fixture
def refused(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """A run that is refused before any model is built, and leaves an earlier one as it was."""
    (tmp_path / "out").mkdir()
    for name in ("run_config.json", "model.safetensors"):
        (tmp_path / "out" / name).write_text("an earlier run's")
    monkeypatch.delattr(run_clm, "build_model")

    def call(message: str, *options: str) -> None:
        with pytest.raises(PADNetError, match=message):
            run(*options, "--overwrite_output_dir", "--do_train", "--do_eval", *PAD)
        kept = {path.name: path.read_text() for path in (tmp_path / "out").iterdir()}
        assert kept == dict.fromkeys(("run_config.json", "model.safetensors"), "an earlier run's")

    return call


def test_a_block_beyond_the_models_positions(refused: Callable, text_file: str) -> None:
    refused("--block_size is 65, but .* at most 64 tokens", "--train_file", text_file, "--block_size", "65")


def test_a_tokenizer_with_more_words_than_embeddings(refused: Callable, text_file: str, tmp_path: Path) -> None:
    new_tokenizer(320).save_pretrained(tmp_path / "larger")
    options = ("--train_file", text_file, "--tokenizer_name", str(tmp_path / "larger"))
    refused("has 320 words, but the model has embeddings for 300 .* --tokenizer_name", *options)


def test_empty_and_unreadable_text(refused: Callable, tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    for content, message in ((b"", "is empty: it needs text"), (b"\xff\xfe\x00", "cannot be read as text")):
        path.write_bytes(content)
        refused(message, "--train_file", str(path))


def test_chats_without_a_template(refused: Callable, tables: Tables) -> None:
    path = tables(".jsonl", pd.DataFrame({"chat": CHAT}))
    options = ("--train_file", path, "--messages_column", "chat")
    refused("--messages_column chat holds chats, but the tokenizer has no chat template: give one", *options)


def test_less_text_than_a_block(refused: Callable, tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_text("a\n" * 50)
    refused("text.txt has fewer tokens for '(train|validation)' than one block of 32", "--train_file", str(path))


def test_a_folder_that_holds_something_else(run: Run, text_file: str, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("mine")
    for option, message in (([], "holds other results"), (["--overwrite_output_dir"], "holds other things than a run")):
        with pytest.raises(PADNetError, match=message):
            run("--train_file", text_file, "--do_train", *option)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--optim galore_adamw", "You need to install `galore_torch`"),
        ("--metric_for_best_model accuracy", "must be one of 'loss', 'perplexity', 'bits_per_byte'"),
        ("--lora --lora_rank 99", "the LoRA rank is 99"),
        ("--prediction_loss_only", "leaves out what is measured"),
    ],
)
def test_what_the_trainer_or_the_adapter_refuses_is_said_before_the_partition(
    options: str, message: str, run: Run, text_file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(rehearsal, "IMPCallback")
    with pytest.raises(PADNetError, match=message):
        run("--train_file", text_file, "--do_train", "--do_eval", *PAD, *options.split())
    assert not list((tmp_path / "out").glob("*"))  # the Trainer makes the folder


def test_a_partitioned_model_is_not_partitioned_again_and_goes_on_as_it_is(
    run: Run, text_file: str, tmp_path: Path
) -> None:
    options = ["--train_file", text_file, "--do_train", "--max_steps", "1"]
    run(*options, *PAD)
    pad = ["--model_name_or_path", str(tmp_path / "out"), "--output_dir", str(tmp_path / "on")]
    with pytest.raises(PADNetError, match="is partitioned already"):
        run(*options, *pad, *PAD)
    assert run(*options, *pad, "--do_eval")["eval_perplexity"] > 1


def test_a_run_is_only_resumed_with_what_it_was_asked_for(run: Run, text_file: str) -> None:
    options = ["--train_file", text_file, "--do_train", "--save_steps", "1", "--max_steps", "1"]
    run(*options)
    for changed in (["--block_size", "16"], ["--validation_split_percentage", "9"]):
        message = f"{changed[0]} is {changed[1]}.*but .* was trained with"
        with pytest.raises(PADNetError, match=message):
            run(*options, *changed, "--resume_from_checkpoint", "last")


def test_every_error_is_one_line(run: Run, text_file: str) -> None:
    with pytest.raises(PADNetError) as raised:
        run("--train_file", text_file, "--do_train", "--block_size", "65")
    assert not re.search(r"\n", str(raised.value))
