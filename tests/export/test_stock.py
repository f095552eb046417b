"""Language models leave as stock checkpoints: equal logits and tokens, in a process without this package."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import ModelCard
from safetensors.torch import save_file
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig, PreTrainedModel

from padnet_hf import PADNetError, PartitionConfig, export_stock, partition, to_stock
from padnet_hf.method.layer import pad_weights
from padnet_hf.models.pad_model import PADModelMixin
from tests.models.samples import MIXTURES, set_apart, small_pad

PLAIN: dict[str, dict[str, Any]] = {
    "llama": {"mlp_bias": False, "num_key_value_heads": 1},
    "mistral": {"sliding_window": None, "num_key_value_heads": 1},
    "mixtral": {"sliding_window": None, "num_key_value_heads": 1},
    "qwen2": {"use_sliding_window": False, "num_key_value_heads": 1},
    "qwen3": {"use_sliding_window": False, "num_key_value_heads": 1, "head_dim": 12},
    "qwen3_moe": {"use_sliding_window": False, "num_key_value_heads": 1, "head_dim": 12},
}
"""What every family needs to have a stock form; queries share keys, and Qwen3's heads have a size of their own."""

PAIRS = [
    ("llama", "granitemoeshared"),
    ("llama", "qwen2_moe"),
    ("mistral", "granitemoeshared"),
    ("mistral", "qwen2_moe"),
    ("mixtral", "granitemoeshared"),
    ("mixtral", "qwen2_moe"),
    ("qwen2", "qwen2_moe"),
    ("qwen3", "qwen3_next"),
    ("qwen3_moe", "qwen3_next"),
]
DEFAULTS = {"llama": "granitemoeshared", "mistral": "granitemoeshared", "mixtral": "granitemoeshared"}
DEFAULTS |= {"qwen2": "qwen2_moe", "qwen3": "qwen3_next", "qwen3_moe": "qwen3_next"}


def model_of(dense: str, granularity: str | None = "unit", *, scope: str = "layer", **fields: Any) -> PADModelMixin:
    """A language model partitioned at random, its copies, scales, norms and biases as apart as after training."""
    fields = {**PLAIN.get(dense, {}), "max_position_embeddings": 256, **fields}
    model = small_pad(dense, "AutoModelForCausalLM", **fields)
    if granularity:
        config = PartitionConfig(criterion="random", granularity=granularity, scope=scope)
        partition(model, None, config, progress=False)
    model.generation_config = GenerationConfig(max_new_tokens=9, do_sample=False)
    return set_apart(model)


def tokens(model: PreTrainedModel, batch: int = 3, length: int = 11) -> Tensor:
    return torch.randint(model.config.vocab_size, (batch, length), generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def logits(model: PreTrainedModel, ids: Tensor) -> Tensor:
    return model(ids).logits


def greedy(model: PreTrainedModel, ids: Tensor, steps: int) -> Tensor:
    options = {"max_new_tokens": steps, "min_new_tokens": steps, "do_sample": False, "pad_token_id": 0}
    return model.generate(ids, attention_mask=torch.ones_like(ids), **options)


@pytest.mark.parametrize(("dense", "target"), PAIRS)
@pytest.mark.parametrize("tied", [False, True])
def test_the_stock_model_gives_the_same_logits(dense: str, target: str, tied: bool) -> None:
    model = model_of(dense, tie_word_embeddings=tied)
    stock = to_stock(model, target)
    assert stock.config.model_type == target
    ids = tokens(model)
    torch.testing.assert_close(logits(stock, ids), logits(model, ids), rtol=0, atol=1e-5)
    assert stock.generation_config.max_new_tokens == 9
    parameters = {p.data_ptr() for p in model.parameters()}
    assert not parameters & {p.data_ptr() for name, p in stock.named_parameters() if "mlp" in name or "moe" in name}


@pytest.mark.parametrize(("dense", "target"), DEFAULTS.items())
@pytest.mark.parametrize("batch", [1, 8])
def test_two_hundred_greedy_tokens_are_equal(dense: str, target: str, batch: int) -> None:
    model = model_of(dense)
    stock = to_stock(model)
    assert stock.config.model_type == target
    ids = tokens(model, batch)
    assert torch.equal(greedy(stock, ids, 200), greedy(model, ids, 200))


@pytest.mark.parametrize(
    ("dense", "target"), [pair for pair in PAIRS if pair[1] != "granitemoeshared" and pair[0] != "mixtral"]
)
def test_layers_that_stay_dense_stay_so(dense: str, target: str) -> None:
    model = model_of(dense, **({"mlp_only_layers": [0]} if dense == "qwen3_moe" else {"moe_layers": [1]}))
    stock = to_stock(model, target)
    assert stock.config.mlp_only_layers == [0]
    torch.testing.assert_close(logits(stock, tokens(model)), logits(model, tokens(model)), rtol=0, atol=1e-5)


@pytest.mark.parametrize("dense", ["llama", "mistral", "mixtral"])
def test_a_fully_dynamic_model_needs_no_shared_expert(dense: str) -> None:
    model = model_of(dense, None)
    stock = to_stock(model)
    assert stock.config.shared_intermediate_size == 0
    torch.testing.assert_close(logits(stock, tokens(model)), logits(model, tokens(model)), rtol=0, atol=1e-5)


LEFT_OUT = {"mixtral": "mixtral", "olmoe": "olmoe", "qwen3_moe": "qwen3_moe", "llama": "granitemoeshared"}


@pytest.mark.parametrize("dense", LEFT_OUT)
@pytest.mark.parametrize("sums_to_one", [False, True])
def test_experts_of_which_neurons_were_left_out_are_smaller_experts(
    dense: str, sums_to_one: bool, tmp_path: Path
) -> None:
    fields = {"norm_topk_prob": sums_to_one} if dense in ("olmoe", "qwen3_moe") else {}
    fields |= {"attention_bias": True} if dense == "olmoe" else {}
    model = set_apart(model_of(dense, None, **fields))
    config = PartitionConfig.for_model(
        model, granularity="unit", masks="per_copy", static_values="none", criterion="magnitude"
    )
    partition(model, None, config, progress=False)
    report = export_stock(model, tmp_path / "stock")
    assert report.target == LEFT_OUT[dense]
    assert report.max_difference <= 1e-5
    stock = AutoModelForCausalLM.from_pretrained(tmp_path / "stock")
    of_experts = {p.shape for name, p in stock.named_parameters() if name.endswith("experts.down_proj")}
    width = pad_weights(model)[next(name for name in pad_weights(model) if name.endswith("down_proj"))].dynamic.shape
    assert of_experts == {width}
    torch.testing.assert_close(logits(stock, tokens(model)), logits(model, tokens(model)), rtol=0, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_stays_and_is_close(dtype: torch.dtype, tmp_path: Path) -> None:
    model = model_of("llama").to(dtype)
    report = export_stock(model, tmp_path / "stock")
    assert report.greedy_tokens == 0
    stock = AutoModelForCausalLM.from_pretrained(tmp_path / "stock")
    assert stock.dtype == dtype
    ids = tokens(model, 8, 50)
    by_token = (logits(stock, ids).float() - logits(model, ids).float()).abs().amax(dim=-1)
    assert by_token.median() < 0.05  # of logits up to 1.5; a few tokens are routed to another expert


IN_A_NEW_PROCESS = """
import sys

class NotHere:
    def find_spec(name, *rest):
        if name.partition(".")[0] == "padnet_hf":
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, NotHere)
import torch
from transformers import AutoModelForCausalLM
from safetensors.torch import load_file
model = AutoModelForCausalLM.from_pretrained(sys.argv[1])
known = load_file(sys.argv[2])
with torch.no_grad():
    print(type(model).__name__, float((model(known["ids"]).logits - known["logits"]).abs().max()))
"""


@pytest.mark.parametrize(
    "dense", [pytest.param(dense, marks=[pytest.mark.thorough] * (dense in MIXTURES)) for dense in DEFAULTS]
)
def test_it_is_loaded_without_this_package(dense: str, tmp_path: Path) -> None:
    model = model_of(dense)
    report = export_stock(model, tmp_path / "stock")
    ids = tokens(model)
    save_file({"ids": ids, "logits": logits(model, ids)}, tmp_path / "known.safetensors")
    argv = [sys.executable, "-c", IN_A_NEW_PROCESS, str(tmp_path / "stock"), str(tmp_path / "known.safetensors")]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    name, difference = done.stdout.split()
    assert name == report.architecture
    assert float(difference) < 1e-5


def test_what_is_written_says_what_it_is(tmp_path: Path) -> None:
    model = model_of("llama", base_model="org/small-llama")
    report = export_stock(model, tmp_path / "stock")
    assert (report.target, report.greedy_tokens) == ("granitemoeshared", 48)
    assert report.max_difference < 1e-5
    assert report.parameters < model.num_parameters()  # the scale factors are in the weights
    config = json.loads((tmp_path / "stock" / "config.json").read_text())
    assert config["model_type"] == "granitemoeshared"
    assert not any("padnet" in str(value).lower() or "pad_" in str(value) for value in config.values())
    assert not list((tmp_path / "stock").glob("*.py"))
    card = ModelCard.load(tmp_path / "stock" / "README.md")
    assert card.data.base_model == "org/small-llama"
    assert card.data.pipeline_tag == "text-generation"
    assert "GraniteMoeSharedForCausalLM" in card.text
    assert json.loads((tmp_path / "stock" / "generation_config.json").read_text())["max_new_tokens"] == 9


REFUSED = [
    ("mixtral", "element", {}, None, r"layers\.0\.mlp\.experts is partitioned by element"),
    (
        "qwen3_moe",
        "unit",
        {"norm_topk_prob": False},
        None,
        r"gates that do not sum to one .*to_dense\(\) gives a stock",
    ),
    ("olmoe", "unit", {}, None, r"olmoe cannot hold this model, whose experts have a static part.*to_dense\(\)"),
    ("mixtral", "unit", {}, "mixtral", "mixtral cannot hold this model, whose experts have a static part in common"),
    ("llama", "element", {}, None, "partitioned by element.*--granularity unit"),
    ("llama", "unit", {"mlp_bias": True}, None, "has biases, but the experts of stock language models"),
    ("llama", "unit", {"attention_bias": True}, None, "biases in its attention's output"),
    ("llama", "unit", {"head_dim": 12}, None, r"heads of 12 where hidden_size / num_attention_heads is 4"),
    ("llama", "unit", {"moe_layers": [1]}, None, "1 of whose 2 layers are dense.*--target qwen2_moe"),
    (
        "llama",
        "unit",
        {},
        "qwen3_next",
        "target is 'qwen3_next', but for 'llama' must be one of granitemoeshared, qwen2_",
    ),
    ("llama", "unit", {}, "mixtral", "target is 'mixtral'"),
    ("mistral", "unit", {"sliding_window": 8}, None, "a sliding window of 8 tokens over 256 positions"),
    ("qwen2", None, {}, None, "nothing is static: its shared expert cannot be left out"),
    ("qwen3", None, {}, None, "nothing is static: its shared expert cannot be left out.*Partition the model first"),
]


@pytest.mark.parametrize(("dense", "granularity", "fields", "target", "message"), REFUSED)
def test_what_no_target_can_hold_is_refused(
    dense: str, granularity: str | None, fields: dict[str, Any], target: str | None, message: str, tmp_path: Path
) -> None:
    model = model_of(dense, granularity, **fields)
    with pytest.raises(PADNetError, match=message):
        export_stock(model, tmp_path / "stock", target)
    assert not (tmp_path / "stock").exists()


def test_layers_of_different_sizes_are_refused(tmp_path: Path) -> None:
    model = small_pad("llama", "AutoModelForCausalLM", **PLAIN["llama"], intermediate_size=64)
    for number, count in enumerate((16, 40)):
        experts = model.model.layers[number].mlp.experts
        for weight in (experts.gate_up_proj, experts.down_proj):
            weight.make_room(count, "unit")
    with pytest.raises(
        PADNetError, match=r"different numbers of dynamic neurons \(layer 0: 16, layer 1: 40, .*--scope"
    ):
        export_stock(model, tmp_path / "stock")


def test_models_without_a_stock_form_are_refused(tmp_path: Path) -> None:
    for model, message in (
        (small_pad("bert", "AutoModelForMaskedLM"), "is no language model with its head"),
        (small_pad("llama", "AutoModel", **PLAIN["llama"]), "is no language model with its head"),
    ):
        with pytest.raises(PADNetError, match=message):
            export_stock(model, tmp_path / "stock")


def test_a_dense_network_is_sent_to_to_dense(tmp_path: Path) -> None:
    model = model_of("llama", None)
    partition(model, None, PartitionConfig(dynamic_ratio=0, granularity="unit"), progress=False)
    with pytest.raises(PADNetError, match=r"nothing of layers\.0\.mlp is dynamic.*to_dense\(\)"):
        export_stock(model, tmp_path / "stock")


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(PADNetError, match="is there already, and not empty"):
        export_stock(model_of("llama"), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_stock_model_that_differs_is_not_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from padnet_hf.export import stock_targets

    doubled = stock_targets.Qwen2Moe.layer
    monkeypatch.setattr(stock_targets.Qwen2Moe, "layer", lambda *given: _halved(doubled(*given)))
    with pytest.raises(PADNetError, match="gives other logits than the PAD model"):
        export_stock(model_of("qwen2"), tmp_path / "stock")
    assert not (tmp_path / "stock").exists()


def _halved(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor / 2 if "shared_expert.down" in name else tensor for name, tensor in state.items()}


def test_the_model_stays_in_its_mode(tmp_path: Path) -> None:
    model = model_of("llama").train()
    export_stock(model, tmp_path / "stock")
    assert model.training
    assert AutoConfig.from_pretrained(tmp_path / "stock").architectures == ["GraniteMoeSharedForCausalLM"]
