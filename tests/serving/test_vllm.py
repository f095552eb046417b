"""vLLM, with the plugin and without an export, answers as transformers does.

It needs a Python of its own, with vLLM and this package (`make serve-test` makes it), whose transformers may be older.
"""

import json
import os
import subprocess
from inspect import signature
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn.functional import normalize
from transformers import BertTokenizer

from padnet_hf import PartitionConfig, export_stock, partition
from padnet_hf.models.pad_model import PADModelMixin
from tests.cli.samples import SPECIAL, WORDS
from tests.models.samples import set_apart, small_pad

ROOT = Path(__file__).parents[2]
PYTHON = os.environ.get("PADNET_SERVING_PYTHON")
HEADS = {
    "text": "AutoModelForSequenceClassification",
    "pairs": "AutoModelForSequenceClassification",
    "token": "AutoModelForTokenClassification",
    "writes": "AutoModelForCausalLM",
    "embeds": "AutoModel",
    "answers": "AutoModelForQuestionAnswering",
    "sees": "AutoModelForImageClassification",
}
FORMS = {
    "dynamic": None,
    "element": PartitionConfig(dynamic_ratio=0.4, criterion="random"),
    "damaged": PartitionConfig(dynamic_ratio=0.4, criterion="random"),
    "unit": PartitionConfig(dynamic_ratio=0.4, criterion="random", granularity="unit"),
}
TEXTS = [[2, 5, 9, 33, 41], [4, 7, 8, 12, 3, 2, 17, 20, 21, 55, 13], [6, 6]]
TOLERANCE = 2e-6
PAIRS = [("a fine film", "very dull"), ("no", "the plot"), ("a very good plot", "the film")]
SOUND = ("dynamic", "element", "unit")

SERVED = [("bert", "text", form) for form in SOUND] + [("llama", "writes", form) for form in SOUND]
SERVED += [("roberta", "text", "element"), ("camembert", "text", "unit"), ("electra", "text", "dynamic")]
SERVED += [("xlm-roberta", "token", "unit"), ("bert", "token", "element"), ("llama", "text", "element")]
SERVED += [("qwen2", "writes", "unit"), ("qwen3", "writes", "element"), ("mistral", "writes", "dynamic")]
SERVED += [("mistral", "text", "unit"), ("qwen3", "token", "dynamic")]
SERVED += [("albert", "text", "element"), ("distilbert", "token", "unit"), ("modernbert", "text", "unit")]
SERVED += [("bert", "embeds", "unit"), ("modernbert", "embeds", "element"), ("qwen3", "embeds", "unit")]
SERVED += [("bert", "pairs", "unit"), ("electra", "pairs", "element"), ("mistral", "pairs", "unit")]
FUSED = [case for case in SERVED if case[0] in ("mistral", "qwen2", "qwen3") and case[2] != "element"]

REFUSED = {
    ("bert", "token", "damaged"): "PADCheckpointError: the masks have the hash",
    ("deberta-v2", "text", "dynamic"): "PADNetError: vLLM puts all requests into one row, in which encoder.conv",
    ("vit", "sees", "dynamic"): "PADNetError: vLLM does not serve PADViTForImageClassification",
    ("bert", "answers", "dynamic"): "PADNetError: vLLM does not serve PADBertForQuestionAnswering",
}

TOKENIZER = BertTokenizer({word: number for number, word in enumerate(SPECIAL + WORDS)})
ENVIRONMENT = os.environ | {
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "HF_HUB_OFFLINE": "1",
    "PYTHONPATH": str(ROOT),
}

needs_vllm = [
    pytest.mark.slow,
    pytest.mark.skipif(not PYTHON, reason="PADNET_SERVING_PYTHON names no Python with vLLM: run `make serve-test`"),
]
pytestmark = needs_vllm


def make(dense: str, head: str, form: str) -> PADModelMixin:
    """A small model, with heads of attention as wide as vLLM has them (32, 64, ...)."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 64, "num_attention_heads": 2, "max_position_embeddings": 42}
    if dense in ("llama", "mistral", "qwen2", "qwen3"):
        sizes |= {"hidden_size": 128, "num_attention_heads": 4}
    if dense == "distilbert":
        sizes = {"dim": 64, "n_heads": 2, "max_position_embeddings": 42}
    if dense == "qwen3":
        sizes["head_dim"] = 32
    if form == "unit":
        sizes["moe_layers"] = [1]  # dense layers too
    if dense == "vit":
        sizes = {"hidden_size": 64, "num_attention_heads": 2}
    if head == "pairs":
        sizes["num_labels"] = 1
    model = small_pad(dense, HEADS[head], **sizes)
    if FORMS[form] is not None:
        partition(model, config=FORMS[form], progress=False)
    return set_apart(model).eval()


def save(case: tuple[str, str, str], folder: Path) -> PADModelMixin:
    """The model of `make` in a folder, with a tokenizer."""
    model = make(*case)
    model.save_pretrained(folder)
    TOKENIZER.save_pretrained(folder)
    return model


def damage_mask(folder: str) -> None:
    """Turn one of its masks around: as many bits, in other places."""
    path = Path(folder, "model.safetensors")
    tensors = load_file(path)
    name = next(name for name in tensors if name.endswith("up_proj.mask_bits"))
    tensors[name] = tensors[name].flip(0).contiguous()
    save_file(tensors, path, metadata={"format": "pt"})


@torch.no_grad()
def expected(model: PADModelMixin, head: str) -> list[Any]:
    """What transformers answers, text by text."""
    if head in ("answers", "sees"):
        return []
    if head == "pairs":
        batches = (TOKENIZER(*pair, return_tensors="pt") for pair in PAIRS)
        kinds = set(signature(model.forward).parameters)
        return [model(**{n: v for n, v in batch.items() if n in kinds}).logits[0].sigmoid() for batch in batches]
    inputs = [torch.tensor([text]) for text in TEXTS]
    if head == "embeds":
        place = -1 if "AutoModelForCausalLM" in model.config.models else 0
        return [normalize(model(input_ids=ids).last_hidden_state[0, place], dim=0) for ids in inputs]
    if head != "writes":
        return [model(input_ids=ids).logits.softmax(-1)[0] for ids in inputs]
    written = (model.generate(ids, max_new_tokens=20, do_sample=False, eos_token_id=None) for ids in inputs)
    return [tokens[0, len(text) :].tolist() for tokens, text in zip(written, TEXTS, strict=True)]


def ask(asked: dict[str, Any], folder: Path, **environment: str) -> dict[str, Any]:
    """What a process with vLLM answers, for every model's folder."""
    (folder / "asked").write_text(json.dumps(asked))
    program = str(Path(__file__).with_name("answers.py"))
    command = [PYTHON, program, str(folder / "asked"), str(folder / "answered")]
    done = subprocess.run(command, env=ENVIRONMENT | environment, capture_output=True, text=True, check=False)
    (folder / "log").write_text(done.stdout + done.stderr)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads((folder / "answered").read_text())


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str, str], Any]:
    """For every model what vLLM answers, all in one process of it, with what is expected."""
    folder, asked, right = tmp_path_factory.mktemp("vllm"), {}, {}
    for case in (*SERVED, *REFUSED):
        model = save(case, Path(path := str(folder / "-".join(case))))
        right[case] = path, expected(model, case[1])
        is_pairs = case[1] == "pairs"
        asked[path] = {"asks": "pairs" if is_pairs else HEADS[case[1]], "texts": PAIRS if is_pairs else TEXTS}
    damage_mask(right["bert", "token", "damaged"][0])
    found = ask(asked, folder)
    return {case: (found[path], expectation) for case, (path, expectation) in right.items()}


@pytest.mark.parametrize("case", SERVED, ids="-".join)
def test_vllm_answers_as_transformers_does(case: tuple[str, str, str], answers: dict) -> None:
    found, right = answers[case]
    assert isinstance(found, list), found
    compare(found[0], right, case[1])


def compare(found: list[Any], right: list[Any], head: str) -> None:
    """Tokens exactly, numbers to the tolerance."""
    assert len(found) == len(right)
    if head == "writes":
        assert found == right
        return
    for one, other in zip(found, right, strict=True):
        torch.testing.assert_close(torch.tensor(one).view_as(other), other, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("case", SERVED, ids="-".join)
def test_gated_units_run_on_the_fused_experts_of_vllm(case: tuple[str, str, str], answers: dict) -> None:
    (_, num_fused), _ = answers[case]
    assert num_fused == (0 if case not in FUSED else 1 if case[2] == "unit" else 2)


@pytest.mark.parametrize("case", REFUSED, ids="-".join)
def test_what_would_be_wrong_is_refused(case: tuple[str, str, str], answers: dict) -> None:
    found, _ = answers[case]
    assert isinstance(found, str), "it was answered"
    assert REFUSED[case] in found


@pytest.mark.parametrize("target", ["granitemoeshared", "qwen2_moe"])
def test_stock_exports_need_nothing_of_this_package(target: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    sizes = {"hidden_size": 128, "num_attention_heads": 4, "max_position_embeddings": 42, "mlp_bias": False}
    model = small_pad("llama", HEADS["writes"], **sizes)
    unit = PartitionConfig.for_model(model, dynamic_ratio=0.4, criterion="random", granularity="unit")
    partition(model, config=unit, progress=False)
    export_stock(set_apart(model).eval(), stock := str(tmp_path / "stock"), target=target)
    TOKENIZER.save_pretrained(stock)
    asked = {stock: {"asks": HEADS["writes"], "texts": TEXTS}}
    found = ask(asked, tmp_path, VLLM_PLUGINS="", PYTHONPATH="")
    compare(found[stock][0], expected(model, "writes"), "writes")
    assert not found["uses this package"]


@pytest.mark.parametrize("case", [("qwen3", "writes", "unit"), ("bert", "text", "element")], ids="-".join)
def test_two_processes_answer_as_one_and_say_what_is_not_spread(case: tuple[str, str, str], tmp_path: Path) -> None:
    model = save(case, Path(path := str(tmp_path / "model")))
    asked = {path: {"asks": HEADS[case[1]], "texts": TEXTS, "processes": 2}}
    several = {"VLLM_ENABLE_V1_MULTIPROCESSING": "1", "VLLM_CPU_OMP_THREADS_BIND": "0|1"}
    found = ask(asked, tmp_path, **several)[path]
    assert isinstance(found, list), found
    compare(found[0], expected(model, case[1]), case[1])
    said = "The experts are whole on every one of 2 processes" in (tmp_path / "log").read_text()
    assert said == (case[2] == "element")
