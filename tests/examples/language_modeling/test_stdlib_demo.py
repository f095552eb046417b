"""The stages of `make lm`, in a very short form."""

import json
import re
from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM

import run_clm
import stdlib_demo
from padnet_hf import PADNetError

SHORT = ["--max_steps", "2", "--max_files", "4", "--max_eval_samples", "2", "--vocab_size", "300", "--block_size", "32"]
SHORT += ["--config_overrides", "hidden_size=16,intermediate_size=32,num_hidden_layers=1,num_attention_heads=2"]


def demo(folder: Path, *options: str) -> None:
    stdlib_demo.main(["--output_dir", str(folder), *SHORT, *options])


@pytest.mark.slow
def test_every_stage_runs_and_one_that_was_interrupted_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, done = tmp_path / "lm", []
    own = run_clm.main

    def interrupted(argv: list[str]) -> dict[str, float]:
        done.append(Path(argv[argv.index("--output_dir") + 1]).name)
        if done == ["dense", "dense_on"]:
            raise KeyboardInterrupt
        return own(argv)

    monkeypatch.setattr(run_clm, "main", interrupted)
    with pytest.raises(KeyboardInterrupt):
        demo(folder)
    demo(folder, "--resume_from_checkpoint", "last")
    assert done == ["dense", "dense_on", "dense_on", "pad"]
    table, written = capsys.readouterr().out.split("Side by side")[1].split("stock without padnet_hf, after 'def ':")
    assert written.lstrip().startswith("def ")
    assert json.loads((folder / "stock" / "config.json").read_text())["model_type"] == "granitemoeshared"
    assert (folder / "stock" / "tokenizer.json").exists()
    assert re.findall(r"(dense|partitioned), (\d+) (?:steps|more) +[\d.]+ +[\d.]+ +[\d,]+ +[\d,]+ +[\d,]+", table) == [
        ("dense", "2"), ("dense", "1"), ("partitioned", "1"),
    ]  # fmt: skip
    model = AutoModelForCausalLM.from_pretrained(folder / "pad")
    assert (model.is_partitioned, model.config.num_experts, model.config.num_experts_per_tok) == (True, 8, 2)

    with pytest.raises(PADNetError, match=r"--vocab_size is 290, but .* was trained with 300"):
        demo(folder, "--resume_from_checkpoint", "last", "--vocab_size", "290")
    with pytest.raises(PADNetError, match="holds other results"):
        demo(folder)
    demo(folder, "--overwrite_output_dir")
    assert done == ["dense", "dense_on", "dense_on", "pad", "dense", "dense_on", "pad"]


def test_a_folder_that_holds_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "text").mkdir()
    with pytest.raises(PADNetError, match="holds other things than a run"):
        demo(tmp_path, "--overwrite_output_dir")
    assert (tmp_path / "text").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--vocab_size", "256"], "--vocab_size is 256, but must be at least 257"),
        (["--max_steps", "0"], "--max_steps is 0, but must be at least 1"),
        (["--resume_from_checkpoint", "dense/checkpoint-1"], "give `last`"),
    ],
)
def test_numbers_that_cannot_be_are_refused(options: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(PADNetError, match=message):
        demo(tmp_path / "lm", *options)
    assert not (tmp_path / "lm").exists()
