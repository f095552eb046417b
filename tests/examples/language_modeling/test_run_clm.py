import json
import math
import re
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from padnet_hf.method.layer import pad_weights
from tests.examples.language_modeling.conftest import CHAT, LINES, TEMPLATE, new_tokenizer

Run = Callable[..., dict[str, float]]
Tables = Callable[[str, pd.DataFrame], str]

VARIANTS = {
    "dense": [],
    "fully dynamic": ["--use_moe", "--num_experts", "4"],
    "partitioned": ["--use_pad", "--num_experts", "4", "--dynamic_ratio", "0.5", "--granularity", "unit"],
    "partitioned by elements": ["--use_pad", "--num_experts", "4"],
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_one_script_gives_every_network(
    variant: str, run: Run, tiny_llama: str, text_file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    metrics = run(*VARIANTS[variant], "--train_file", text_file, "--do_train", "--do_eval", "--max_steps", "6")
    out = tmp_path / "out"
    is_partitioned = variant.startswith("partitioned")
    assert (out / "partition.png").exists() == is_partitioned
    assert (out / "partition_report.json").exists() == (variant != "dense")
    assert metrics.items() <= json.loads((out / "all_results.json").read_text()).items()
    asked = json.loads((out / "run_config.json").read_text())["options"]
    assert (asked["use_pad"], asked.get("dynamic_ratio")) == (is_partitioned, 0.5 if is_partitioned else None)
    printed = capsys.readouterr().out
    assert re.search(rf"{variant.split(' by ')[0]} +[\d,]+ +[\d,]+ +[\d,]+ +perplexity [\d.]+", printed)
    assert f"bits per byte {metrics['eval_bits_per_byte']:.4f}" in printed
    assert printed.rstrip().endswith(f"AutoModelForCausalLM.from_pretrained({str(out)!r})")
    card = (out / "README.md").read_text()
    assert ("text-generation" in card and "functions.txt" in card) == (variant != "dense")  # transformers' own there

    for folder in (out, out / "checkpoint-6"):  # text is written with a cache, whatever training does
        assert json.loads((folder / "config.json").read_text())["use_cache"]
        kept = GenerationConfig.from_pretrained(folder).to_diff_dict()
        assert kept == GenerationConfig.from_pretrained(tiny_llama).to_diff_dict()

    model = AutoModelForCausalLM.from_pretrained(out).eval()
    assert getattr(model, "is_partitioned", False) == is_partitioned
    tokenizer = AutoTokenizer.from_pretrained(out)
    written = model.generate(**tokenizer("def ", return_tensors="pt"), max_new_tokens=4, do_sample=False)
    assert written.shape[1] > len(tokenizer("def ")["input_ids"])


def test_perplexity_and_bits_per_byte_are_those_of_the_models_own_probabilities(
    run: Run, text_file: str, tiny_llama: str, tmp_path: Path
) -> None:
    held_out = tmp_path / "held_out.txt"
    held_out.write_text("".join(LINES[:9]) + "# ä€\n", encoding="utf-8")
    metrics = run("--validation_file", str(held_out), "--do_eval")
    model = AutoModelForCausalLM.from_pretrained(tiny_llama).eval()
    tokenizer = AutoTokenizer.from_pretrained(tiny_llama)
    ids = [*tokenizer(held_out.read_text(encoding="utf-8"))["input_ids"], tokenizer.eos_token_id]
    nats = tokens = size = 0
    for start in range(0, len(ids) - 31, 32):
        block = torch.tensor([ids[start : start + 32]])
        with torch.no_grad():
            likely = model(block).logits[0, :-1].double().log_softmax(-1)
        nats -= float(likely.gather(1, block[0, 1:, None]).sum())
        tokens += 31
        pieces = tokenizer.convert_ids_to_tokens([number for number in ids[start + 1 : start + 32] if number])
        size += sum(map(len, pieces))  # a character of a byte-level token stands for a byte
    assert metrics["eval_bytes"] == size
    assert metrics["eval_perplexity"] == pytest.approx(math.exp(nats / tokens), rel=1e-5)
    assert metrics["eval_bits_per_byte"] == pytest.approx(nats / math.log(2) / size, rel=1e-5)
    assert metrics["eval_loss"] == pytest.approx(nats / tokens, rel=1e-5)


def test_what_is_measured_does_not_depend_on_the_loss_or_the_batches(run: Run, text_file: str) -> None:
    plain = run("--validation_file", text_file, "--do_eval")
    smoothed = run("--validation_file", text_file, "--do_eval", "--label_smoothing_factor", "0.3",
                   "--per_device_eval_batch_size", "3")  # fmt: skip
    assert smoothed["eval_perplexity"] == pytest.approx(plain["eval_perplexity"], rel=1e-6)
    assert smoothed["eval_bits_per_byte"] == pytest.approx(plain["eval_bits_per_byte"], rel=1e-6)


def test_the_best_model_is_that_of_the_smallest_perplexity(run: Run, text_file: str, tmp_path: Path) -> None:
    evaluated = [
        "--eval_strategy",
        "steps",
        "--eval_steps",
        "1",
        "--save_steps",
        "1",
        "--load_best_model_at_end",
        "True",
    ]
    evaluated += ["--metric_for_best_model", "perplexity", "--learning_rate", "0.3", "--max_grad_norm", "0"]
    run("--train_file", text_file, "--do_train", "--do_eval", "--max_steps", "3", *evaluated)
    state = json.loads((tmp_path / "out" / "trainer_state.json").read_text())
    assert state["best_metric"] == min(
        entry["eval_perplexity"] for entry in state["log_history"] if "eval_perplexity" in entry
    )


def test_a_run_that_was_interrupted_ends_bit_equal(run: Run, text_file: str, tmp_path: Path) -> None:
    options = [*VARIANTS["partitioned"], "--train_file", text_file, "--do_train", "--do_eval", "--save_steps", "3"]
    options += ["--gradient_accumulation_steps", "2", "--max_steps", "6", "--lr_scheduler_type", "constant"]
    whole = run(*options, "--output_dir", str(tmp_path / "whole"))
    run(*options, "--max_steps", "3")
    resumed = run(*options, "--resume_from_checkpoint", "last")
    assert resumed["eval_perplexity"] == whole["eval_perplexity"]
    weights = [(tmp_path / folder / "model.safetensors").read_bytes() for folder in ("whole", "out")]
    assert weights[0] == weights[1]


@pytest.mark.parametrize("variant", ["dense", "partitioned"])
def test_a_new_model_has_the_shape_asked_for_and_the_tokenizers_words(
    variant: str, run: Run, text_file: str, tokenizer_folder: str, tmp_path: Path
) -> None:
    shape = "hidden_size=24,intermediate_size=32,num_hidden_layers=1,num_attention_heads=2,tie_word_embeddings=true"
    options = [
        "--model_type", "llama", "--config_overrides", f"{shape},max_position_embeddings=48", "--tokenizer_name",
        tokenizer_folder, *VARIANTS[variant], "--train_file", text_file, "--do_train", "--save_steps", "1",
    ]  # fmt: skip
    run(*options, "--max_steps", "1")
    run(*options, "--max_steps", "2", "--resume_from_checkpoint", "last")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    config = model.config
    assert (config.hidden_size, config.head_dim, config.num_key_value_heads) == (24, 12, 2)
    assert (config.max_position_embeddings, config.tie_word_embeddings) == (48, True)
    assert (config.vocab_size, config.eos_token_id) == (300, 0)
    if variant == "partitioned":  # static values are a draw like all others, and not the mean of some
        assert config.partition["static_values"] == "fresh"
    for weight in pad_weights(model).values():  # copies of a model that learned nothing yet are drawn apart
        assert not torch.equal(weight.dynamic[0], weight.dynamic[1])


def test_streamed_text_trains_and_measures_and_resumes(run: Run, tables: Tables, tmp_path: Path) -> None:
    path = tables(".jsonl", pd.DataFrame({"text": LINES}))
    options = ["--train_file", path, "--streaming", "--do_train", "--do_eval", "--save_steps", "2", "--max_steps", "4"]
    options += [*VARIANTS["partitioned"], "--shuffle_buffer", "8", "--max_eval_samples", "2"]
    options += ["--validation_split_percentage", "20", "--lr_scheduler_type", "constant"]
    whole = run(*options, "--output_dir", str(tmp_path / "whole"))
    assert whole["eval_samples"] == 2
    run(*options, "--max_steps", "2")
    assert run(*options, "--resume_from_checkpoint", "last")["eval_loss"] == whole["eval_loss"]


def test_chats_are_written_by_the_template_before_they_are_cut(
    run: Run, tables: Tables, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = str(tmp_path / "with_template")
    new_tokenizer(chat_template=TEMPLATE).save_pretrained(folder)
    path = tables(".jsonl", pd.DataFrame({"chat": CHAT, "number": range(len(CHAT))}))
    run("--tokenizer_name", folder, "--train_file", path, "--messages_column", "chat", "--do_train", "--max_steps", "2")
    read = json.loads((tmp_path / "out" / "run_config.json").read_text())["columns"]
    assert read == {"inputs": ["chat"], "label": None, "left_out": ["number"]}


def test_an_adapter_is_trained_on_top_and_its_base_is_the_source_where_that_did_not_change(
    run: Run, text_file: str, tiny_llama: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--train_file", text_file, "--do_train", "--do_eval", "--max_steps", "2", "--lora", "--lora_rank", "4"]
    run(*options)
    asked = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert asked["base_model_name_or_path"] == tiny_llama
    pad = tmp_path / "pad"
    run(*options, *VARIANTS["partitioned"], "--output_dir", str(pad))
    assert (pad / "base" / "model.safetensors").exists()
    assert "with its adapter" in capsys.readouterr().out


def test_bf16_trains_and_measures(run: Run, text_file: str) -> None:
    metrics = run(*VARIANTS["partitioned"], "--train_file", text_file, "--do_train", "--do_eval", "--max_steps", "2",
                  "--bf16")  # fmt: skip
    assert 1 < metrics["eval_perplexity"] < 1000


def test_a_new_model_is_trained_and_partitioned_afterwards(
    run: Run, tiny_llama: str, text_file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    new = ["--config_name", tiny_llama, "--tokenizer_name", tiny_llama, "--train_file", text_file, "--num_experts", "4"]
    run(*new, "--use_pad", "--granularity", "unit", "--partition_when", "after", "--recovery_steps", "2",
        "--max_steps", "4", "--do_train", "--do_eval")  # fmt: skip
    printed = capsys.readouterr().out.split("What this run made")[-1]
    assert len(re.findall(r"perplexity [\d.]+", printed)) == 2
    record = json.loads((tmp_path / "out" / "config.json").read_text())["partition"]
    assert (record["criterion"], record["static_values"], record["scope"]) == ("fisher", "fisher", "layer")
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "out").is_partitioned
