"""vLLM, with the plugin and without an export, answers as transformers does.

It needs a Python of its own, with vLLM and this package (`make serve-test` makes it), whose transformers may be older.
"""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from padnet_hf import PartitionConfig, partition
from padnet_hf.models.pad_model import PADModelMixin
from tests.models.samples import set_apart, small_pad

ROOT = Path(__file__).parents[2]
PYTHON = os.environ.get("PADNET_SERVING_PYTHON")
HEADS = {"text": "AutoModelForSequenceClassification", "token": "AutoModelForTokenClassification"}
HEADS |= {"writes": "AutoModelForCausalLM", "bare": "AutoModel"}
FORMS = {
    "dynamic": None,
    "element": PartitionConfig(dynamic_ratio=0.4, criterion="random"),
    "damaged": PartitionConfig(dynamic_ratio=0.4, criterion="random"),
    "unit": PartitionConfig(dynamic_ratio=0.4, criterion="random", granularity="unit"),
}
TEXTS = [[2, 5, 9, 33, 41], [4, 7, 8, 12, 3, 2, 17, 20, 21, 55, 13], [6, 6]]
TOLERANCE = 2e-6
SOUND = ("dynamic", "element", "unit")

SERVED = [("bert", "text", form) for form in SOUND] + [("llama", "writes", form) for form in SOUND]
SERVED += [("roberta", "text", "element"), ("camembert", "text", "unit"), ("electra", "text", "dynamic")]
SERVED += [("xlm-roberta", "token", "unit"), ("bert", "token", "element"), ("llama", "text", "element")]
SERVED += [("qwen2", "writes", "unit"), ("qwen3", "writes", "element"), ("mistral", "writes", "dynamic")]
SERVED += [("mistral", "text", "unit"), ("qwen3", "token", "dynamic")]

REFUSED = {
    ("bert", "token", "damaged"): "PADCheckpointError: the masks have the hash",
    ("albert", "text", "dynamic"): "PADNetError: vLLM does not serve models of type 'pad_albert'",
    ("deberta-v2", "text", "dynamic"): "PADNetError: vLLM puts all requests into one row, in which encoder.conv",
    ("distilbert", "text", "dynamic"): "does not dispatch through the Transformers attention interface",
    ("modernbert", "text", "dynamic"): "Cannot resolve attention scaling expression",
    ("bert", "bare", "dynamic"): "PADNetError: vLLM does not serve PADBertModel",
    ("llama", "bare", "dynamic"): "PADNetError: vLLM does not serve PADLlamaModel",
}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not PYTHON, reason="PADNET_SERVING_PYTHON names no Python with vLLM: run `make serve-test`"),
]


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
    model = small_pad(dense, HEADS[head], **sizes)
    if FORMS[form] is not None:
        partition(model, config=FORMS[form], progress=False)
    return set_apart(model).eval()


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
    if head == "bare":
        return []
    inputs = [torch.tensor([text]) for text in TEXTS]
    if head != "writes":
        return [model(input_ids=ids).logits.softmax(-1)[0] for ids in inputs]
    written = (model.generate(ids, max_new_tokens=20, do_sample=False, eos_token_id=None) for ids in inputs)
    return [tokens[0, len(text) :].tolist() for tokens, text in zip(written, TEXTS, strict=True)]


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str, str], tuple[Any, list[Any]]]:
    """For every model what vLLM answers, all in one process of it, and what is expected."""
    folder, asked, right = tmp_path_factory.mktemp("vllm"), {}, {}
    for case in (*SERVED, *REFUSED):
        model = make(*case)
        model.save_pretrained(path := str(folder / "-".join(case)))
        right[case] = path, expected(model, case[1])
        asked[path] = {"asks": HEADS[case[1]], "texts": TEXTS}
    damage_mask(right["bert", "token", "damaged"][0])
    (folder / "asked").write_text(json.dumps(asked))
    quiet = {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", "VLLM_ENABLE_V1_MULTIPROCESSING": "0"}
    environment = os.environ | quiet | {"PYTHONPATH": str(ROOT), "VLLM_CPU_KVCACHE_SPACE": "1", "HF_HUB_OFFLINE": "1"}
    program = str(Path(__file__).with_name("answers.py"))
    command = [PYTHON, program, str(folder / "asked"), str(folder / "answered")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads((folder / "answered").read_text())
    return {case: (found[path], expectation) for case, (path, expectation) in right.items()}


@pytest.mark.parametrize("case", SERVED, ids="-".join)
def test_vllm_answers_as_transformers_does(case: tuple[str, str, str], answers: dict) -> None:
    found, right = answers[case]
    assert len(found) == len(TEXTS), found
    if case[1] == "writes":
        assert found == right
        return
    for one, other in zip(found, right, strict=True):
        torch.testing.assert_close(torch.tensor(one), other, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("case", REFUSED, ids="-".join)
def test_what_would_be_wrong_is_refused(case: tuple[str, str, str], answers: dict) -> None:
    found, _ = answers[case]
    assert isinstance(found, str), "it was answered"
    assert REFUSED[case] in found
