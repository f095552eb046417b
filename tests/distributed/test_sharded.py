"""Tensor and expert parallelism: two processes that share one model compute what one does with all of it."""

import json
import re
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from padnet_hf import PADBertForMaskedLM, PartitionConfig, partition
from tests.distributed import sharded
from tests.forked import ROOT, run_group
from tests.models.samples import small_pad
from tests.transformers_versions import needs_parallel_styles

pytestmark = [pytest.mark.slow, needs_parallel_styles]

PARTITIONED = ["dynamic", "element", "unit", "per copy", "left out"]


@pytest.mark.parametrize("form", sharded.FORMS)
def test_every_head_gives_the_outputs_and_gradients_of_the_whole_model(forks: Any, form: str, tmp_path: Path) -> None:
    for model_class in sharded.HEADS:
        sharded.make(form, model_class).save_pretrained(tmp_path / model_class.__name__)
    run_group(forks, tmp_path, 2, sharded.together, sharded.compare_heads, tmp_path)


def test_so_do_those_of_other_families_with_plans(forks: Any, tmp_path: Path) -> None:
    assert {"roberta", "electra", "llama", "mistral", "qwen2", "qwen3"} <= set(sharded.SIBLINGS)
    sharded.save_siblings(tmp_path)
    run_group(forks, tmp_path, 2, sharded.together, sharded.compare_siblings, tmp_path)


@pytest.mark.parametrize("form", PARTITIONED)
def test_so_does_every_way_to_bring_tokens_to_the_experts(forks: Any, form: str, tmp_path: Path) -> None:
    sharded.make(form).save_pretrained(tmp_path / "model")
    run_group(forks, tmp_path, 2, sharded.together, sharded.compare_dispatches, tmp_path / "model")


@pytest.mark.parametrize("form", PARTITIONED)
def test_training_ends_like_that_of_the_whole_model_and_loads_in_one_process(
    forks: Any, form: str, tmp_path: Path
) -> None:
    sharded.make(form).save_pretrained(tmp_path / "model")
    sharded.train(tmp_path / "model", tmp_path / "whole")
    run_group(forks, tmp_path, 2, sharded.together, sharded.train_in_parallel, tmp_path / "model", tmp_path)
    folders = [tmp_path / name for name in ("whole", "tp", "ep")]
    whole, *others = (load_file(folder / "model.safetensors") for folder in folders)
    assert (whole["bert.pooler.dense.weight"] - sharded.make(form).bert.pooler.dense.weight).abs().max() > 1e-3
    for weights in others:
        torch.testing.assert_close(weights, whole, rtol=0, atol=sharded.TOLERANCE)
    configs = [json.loads((folder / "config.json").read_text()) for folder in folders]
    assert configs[0] == configs[1] == configs[2]
    with torch.no_grad():
        logits = [sharded.load(folder)(**sharded.INPUTS).logits for folder in folders]
    for other in logits[1:]:
        torch.testing.assert_close(other, logits[0], rtol=0, atol=1e-4)  # 1e-7 in weights this large is 1e-5 here


@pytest.mark.parametrize("dense", ["bert", "llama", "mistral", "qwen2", "qwen3"])
def test_the_trainer_does_so_too(forks: Any, dense: str, tmp_path: Path) -> None:
    model = sharded.make("element") if dense == "bert" else small_pad(dense, "AutoModelForCausalLM")
    if dense != "bert":
        partition(model, config=PartitionConfig(criterion="random", granularity="unit"), progress=False)
    model.save_pretrained(tmp_path / "model")
    arguments = (tmp_path / "model", tmp_path / "whole", type(model))
    run_group(forks, tmp_path, 1, sharded.train_with_trainer, *arguments)
    whole, loss = results(tmp_path / "whole")
    for name, options in (("tp", sharded.TP), ("ep", sharded.EP)):
        work = partial(sharded.train_with_trainer, **options)
        run_group(forks, tmp_path, 2, sharded.together, work, tmp_path / "model", tmp_path / name, type(model))
        weights, other = results(tmp_path / name)
        torch.testing.assert_close(weights, whole, rtol=0, atol=sharded.TOLERANCE)
        assert other == pytest.approx(loss, abs=1e-5)


def results(folder: Path) -> tuple[dict[str, torch.Tensor], float]:
    """Weights, in an ordinary checkpoint, and loss."""
    return load_file(folder / "model.safetensors"), json.loads((folder / "loss.json").read_text())


def test_the_documented_call_loads_a_model_in_two_processes(forks: Any, tmp_path: Path) -> None:
    text = (ROOT / "docs" / "reliability.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    sharded.make("unit").save_pretrained(tmp_path / "partitioned")
    run_group(forks, tmp_path, 2, sharded.together, sharded.run_snippet, code, tmp_path)
    assert (tmp_path / "again" / "model.safetensors").exists()


def test_with_dropout_and_router_noise_processes_of_one_seed_stay_equal(forks: Any, tmp_path: Path) -> None:
    chance = {"hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1, "router_noise": True}
    sharded.make("element", **chance).save_pretrained(tmp_path / "model")
    run_group(forks, tmp_path, 2, sharded.together, sharded.train_in_parallel, tmp_path / "model", tmp_path)


@pytest.mark.parametrize("tied", [True, False])
def test_loading_and_saving_changes_no_bit(forks: Any, tied: bool, tmp_path: Path) -> None:
    model = sharded.make("element", PADBertForMaskedLM, tie_word_embeddings=tied)
    model.save_pretrained(tmp_path / "model")
    run_group(forks, tmp_path, 2, sharded.together, sharded.save_again, tmp_path / "model", tmp_path / "again")


def test_what_needs_whole_weights_and_experts_that_cannot_be_spread_are_refused(forks: Any, tmp_path: Path) -> None:
    sharded.make("dynamic").save_pretrained(tmp_path / "four")
    sharded.make("dynamic", num_experts=3).save_pretrained(tmp_path / "three")
    sharded.make("dynamic", expert_dropout=0.4).save_pretrained(tmp_path / "dropout")
    run_group(forks, tmp_path, 2, sharded.together, sharded.ask_for_too_much, tmp_path)
