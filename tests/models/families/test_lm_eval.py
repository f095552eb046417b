"""lm-eval's figures of a PAD language model are those of its logits, and of its stock export."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lm_eval import simple_evaluate
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from padnet_hf import PartitionConfig, export_stock, partition
from padnet_hf.models.pad_model import PADModelMixin
from tests.examples.language_modeling.conftest import new_tokenizer
from tests.export.test_stock import PLAIN
from tests.models.samples import HEADS, set_apart, siblings_later, small_pad

CAUSAL = "AutoModelForCausalLM"
FAMILIES = [dense for dense, auto_class in HEADS if auto_class == CAUSAL and dense in PLAIN]
NEW_TOKENS = 6

CHOICES = [
    {"question": "def f1(x): return", "choices": ["x + 1", "the end", "1 + x * 7"], "label": 0},
    {"question": "def f2(x): return x +", "choices": ["2 * 2", "no", "3 * 3"], "label": 2},
    {"question": "def", "choices": ["f9(x)", "return", "2 + 2"], "label": 1},
]
PROMPTS = ["def f3(x):", "return x + 4 *", "x", "def f10(x): return x + 10"]
"""Of different lengths, so that batches are padded on the left."""
MORE = [" return x", " 7", " is the end", " no"]

SHARED = "dataset_path: json\ntest_split: test\ndoc_to_text: '{{question}}'\n"
TASKS = {
    "choosing": "output_type: multiple_choice\ndoc_to_choice: '{{choices}}'\ndoc_to_target: label\n"
    "metric_list: [{metric: acc}, {metric: acc_norm}]\n",
    "following": "output_type: loglikelihood\ndoc_to_target: '{{more}}'\n"
    "metric_list: [{metric: perplexity, higher_is_better: false}, {metric: acc}]\n",
    "writing": "output_type: generate_until\ndoc_to_target: '{{answer}}'\nmetric_list: [{metric: exact_match}]\n"
    f"generation_kwargs: {{until: ['<end>'], max_gen_toks: {NEW_TOKENS}, do_sample: false}}\n",
}

Evaluate = Callable[[str | PreTrainedModel], dict[str, dict[str, Any]]]


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return new_tokenizer()


def model_of(dense: str, granularity: str, tokenizer: PreTrainedTokenizerFast) -> PADModelMixin:
    """Its copies are apart, as after training."""
    size = {"vocab_size": len(tokenizer), "max_position_embeddings": 128, "eos_token_id": 0, "pad_token_id": 0}
    model = small_pad(dense, CAUSAL, bos_token_id=None, **size | PLAIN[dense])
    config = PartitionConfig(dynamic_ratio=0.5, criterion="random", granularity=granularity, scope="layer")
    partition(model, None, config, progress=False)
    return set_apart(model)


@pytest.fixture
def evaluate(tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> Callable[[list[str]], Evaluate]:
    """What lm-eval finds for tasks in a folder, given the answers to PROMPTS: metrics and answers."""

    def prepare(answers: list[str]) -> Evaluate:
        texts = [{"question": a, "more": b, "answer": c} for a, b, c in zip(PROMPTS, MORE, answers, strict=True)]
        for name, task in TASKS.items():
            rows = CHOICES if name == "choosing" else texts
            data = tmp_path / f"{name}.jsonl"
            data.write_text("".join(json.dumps(row) + "\n" for row in rows))
            files = f"dataset_kwargs: {{data_files: {{test: {data}}}}}\n"
            (tmp_path / f"{name}.yaml").write_text(f"task: {name}\n{SHARED}{files}{task}")
        manager = TaskManager(include_path=str(tmp_path), include_defaults=False)

        def run(pretrained: str | PreTrainedModel) -> dict[str, dict[str, Any]]:
            model = HFLM(pretrained, tokenizer=tokenizer, device="cpu", batch_size=2)
            return simple_evaluate(model, tasks=list(TASKS), task_manager=manager, bootstrap_iters=0)

        return run

    return prepare


def log_likelihood(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, text: str, more: str
) -> tuple[float, bool]:
    """The logarithm of the probability of `more` after `text`, token by token, and whether each is the likeliest."""
    start, ids = len(tokenizer(text)["input_ids"]), tokenizer(text + more)["input_ids"]
    total, is_greedy = 0.0, True
    for place in range(start, len(ids)):
        with torch.no_grad():
            scores = model(torch.tensor([ids[:place]])).logits[0, -1].log_softmax(dim=-1)
        total += scores[ids[place]].item()
        is_greedy &= int(scores.argmax()) == ids[place]
    return total, is_greedy


def written(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, prompt: str) -> str:
    ids = torch.tensor([tokenizer(prompt)["input_ids"]])
    for _ in range(NEW_TOKENS):
        with torch.no_grad():
            best = model(ids).logits[:, -1:].argmax(dim=-1)
        ids = torch.cat([ids, best], dim=1)
    return tokenizer.decode(ids[0, len(tokenizer(prompt)["input_ids"]) :]).split("<end>")[0]


def by_hand(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, answers: list[str]) -> dict[str, float]:
    right, right_by_length = 0, 0
    for row in CHOICES:
        found = [log_likelihood(model, tokenizer, row["question"], f" {choice}")[0] for choice in row["choices"]]
        right += found.index(max(found)) == row["label"]
        found = [value / len(choice) for value, choice in zip(found, row["choices"], strict=True)]
        right_by_length += found.index(max(found)) == row["label"]
    likelihoods = [log_likelihood(model, tokenizer, prompt, more) for prompt, more in zip(PROMPTS, MORE, strict=True)]
    texts = [written(model, tokenizer, prompt) for prompt in PROMPTS]
    return {
        "choosing acc": right / len(CHOICES),
        "choosing acc_norm": right_by_length / len(CHOICES),
        "following perplexity": math.exp(-sum(value for value, _ in likelihoods) / len(likelihoods)),
        "following acc": sum(is_greedy for _, is_greedy in likelihoods) / len(likelihoods),
        "writing exact_match": sum(text == answer for text, answer in zip(texts, answers, strict=True)) / len(texts),
    }


def figures(found: dict[str, dict[str, Any]]) -> dict[str, float]:
    return {
        f"{task} {name.removesuffix(',none')}": value
        for task, values in found["results"].items()
        for name, value in values.items()
        if name.endswith(",none") and "stderr" not in name
    }


@pytest.mark.parametrize("granularity", ["element", "unit"])
@pytest.mark.parametrize("dense", siblings_later(FAMILIES))
def test_figures_are_those_of_the_logits_and_of_the_stock_export(
    dense: str, granularity: str, evaluate: Callable, tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    model = model_of(dense, granularity, tokenizer)
    texts = [written(model, tokenizer, prompt) for prompt in PROMPTS]
    answers = [*texts[:2], "another", "answer"]
    run, expected = evaluate(answers), by_hand(model, tokenizer, answers)
    found = run(model)
    assert figures(found) == pytest.approx(expected, rel=1e-4)
    assert expected["writing exact_match"] == 0.5
    assert [sample["resps"][0][0] for sample in found["samples"]["writing"]] == texts
    likelihoods = [
        [log_likelihood(model, tokenizer, row["question"], f" {choice}")[0] for choice in row["choices"]]
        for row in CHOICES
    ]
    assert [[value for value, _ in sample["filtered_resps"]] for sample in found["samples"]["choosing"]] == [
        pytest.approx(values, rel=1e-4) for values in likelihoods
    ]
    model.save_pretrained(tmp_path / "pad")
    others = [str(tmp_path / "pad")]
    if granularity == "unit":
        export_stock(model, tmp_path / "stock")
        others.append(str(tmp_path / "stock"))
    for other in others:
        again = run(other)
        assert figures(again) == pytest.approx(figures(found), rel=1e-4)
        assert [sample["resps"] for sample in again["samples"]["writing"]] == [
            sample["resps"] for sample in found["samples"]["writing"]
        ]
