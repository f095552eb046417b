"""From a dense model that is not just the counterpart: other labels, other heads, subclasses, compiled models."""

import copy
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, BertForSequenceClassification, GenerationConfig

from padnet_hf import PADNetError
from padnet_hf.models.known import KNOWN
from tests.models.samples import CLASSIFYING, COPIES, classifier_of, inputs_of, pad_class, small_dense

every_family = pytest.mark.parametrize("dense", KNOWN)


@pytest.mark.parametrize("dense", CLASSIFYING)
@pytest.mark.parametrize("way", ["folder", "model"])
def test_another_number_of_labels_starts_a_new_head_and_says_so(
    dense: str, way: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stock = small_dense(dense, classifier_of(dense))
    stock.save_pretrained(tmp_path)
    with caplog.at_level(logging.WARNING, "padnet_hf"):
        model = pad_class(dense, classifier_of(dense)).from_dense(tmp_path if way == "folder" else stock, num_labels=5)
    assert model(**inputs_of(model)).logits.shape == (3, 5)
    assert "the head is new" in caplog.text
    kept, expected = model.base_model.state_dict(), stock.base_model.state_dict()
    shared = kept.keys() & expected.keys()
    assert shared
    assert all(torch.equal(kept[name], expected[name]) for name in shared)


@every_family
def test_the_model_of_another_head_is_taken_as_far_as_it_goes_and_that_is_said(
    dense: str, caplog: pytest.LogCaptureFixture
) -> None:
    bare = small_dense(dense, "AutoModel")
    with caplog.at_level(logging.WARNING, "padnet_hf"):
        model = pad_class(dense, classifier_of(dense)).from_dense(bare)
    assert "the head is new, and untrained" in caplog.text
    inputs = inputs_of(model)
    with torch.no_grad():
        expected, found = (some(**inputs).last_hidden_state for some in (bare, model.base_model))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


class Renamed(BertForSequenceClassification):
    """A user's own subclass."""


def test_a_subclass_and_a_compiled_model_keep_their_head() -> None:
    stock = small_dense("bert", "AutoModelForSequenceClassification")
    own = Renamed(stock.config).eval()
    own.load_state_dict(stock.state_dict())
    for dense in (own, torch.compile(stock, backend="eager")):
        model = pad_class("bert", "AutoModelForSequenceClassification").from_dense(dense, num_experts=4)
        torch.testing.assert_close(model(**inputs_of(model)).logits, stock(**inputs_of(model)).logits)


def test_a_damaged_checkpoint_is_not_taken_for_one_with_another_head(tmp_path: Path) -> None:
    stock = small_dense("bert", "AutoModelForSequenceClassification")
    stock.save_pretrained(tmp_path)
    stock.config.intermediate_size = 48
    stock.config.save_pretrained(tmp_path)
    with pytest.raises(PADNetError, match=r"dense\.bias in .* is of shape \(24,\), but its config"):
        pad_class("bert", "AutoModelForSequenceClassification").from_dense(tmp_path)


def test_a_subclass_of_a_pad_model_keeps_its_own_forward_and_its_dense_class() -> None:
    pad = pad_class("bert", "AutoModelForSequenceClassification")

    class Own(pad):
        """A user's own subclass; fully_shard makes such ones, too, with a class of its own in front."""

        def forward(self, *args: Any, **kwargs: Any) -> Any:
            output = super().forward(*args, **kwargs)
            output.logits = output.logits + 1
            return output

    sharded = type("Sharded", (type("Front", (), {}), Own), {})
    model = pad.from_dense(small_dense("bert", "AutoModelForSequenceClassification"))
    inputs = inputs_of(model)
    expected = model(**inputs).logits + 1
    for subclass in (Own, sharded):
        assert subclass.dense_class is BertForSequenceClassification
        model.__class__ = subclass
        torch.testing.assert_close(model(**inputs).logits, expected)


@every_family
def test_the_generation_config_goes_there_and_back(dense: str) -> None:
    stock = small_dense(dense, classifier_of(dense))
    stock.generation_config = GenerationConfig(max_new_tokens=7)
    model = pad_class(dense, classifier_of(dense)).from_dense(stock)
    assert model.generation_config.max_new_tokens == 7
    assert model.generation_config is not stock.generation_config
    assert model.to_dense().generation_config.max_new_tokens == 7


LOADING: dict[str, dict[str, Any]] = {
    "as it is": {},
    "cpu": {"device_map": "cpu"},
    "all on the cpu": {"device_map": {"": "cpu"}},
    "wherever it fits": {"device_map": "auto"},
}
CAUSAL = [dense for dense in KNOWN if "AutoModelForCausalLM" in pad_class(dense, "AutoModel").config_class.models]


@pytest.mark.parametrize("dense", CAUSAL)
@pytest.mark.parametrize("way", LOADING)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_files_and_the_places_of_a_model_change_nothing(
    dense: str, way: str, dtype: torch.dtype, tmp_path: Path
) -> None:
    stock, upcycled = small_dense(dense, "AutoModelForCausalLM"), pad_class(dense, "AutoModelForCausalLM")
    stock.save_pretrained(tmp_path / "one")
    stock.save_pretrained(tmp_path / "shards", max_shard_size="5KB")
    assert len(list((tmp_path / "shards").glob("*.safetensors"))) > 2
    found = []
    for folder, options in (("one", {}), ("one", LOADING[way]), ("shards", LOADING[way])):
        source = type(stock).from_pretrained(tmp_path / folder, dtype=dtype, **options)
        torch.manual_seed(0)
        found.append(upcycled.from_dense(source, **COPIES["experts"]))
    first, *others = (model.state_dict() for model in found)
    assert {tensor.dtype for tensor in first.values()} == {dtype}
    for state in others:
        assert state.keys() == first.keys()
        assert all(torch.equal(state[name], tensor) for name, tensor in first.items())
    found[-1].save_pretrained(tmp_path / "pad", max_shard_size="5KB")
    again = upcycled.from_pretrained(tmp_path / "pad", dtype=dtype, **LOADING[way])
    inputs = inputs_of(stock)
    assert len(list((tmp_path / "pad").glob("model-*.safetensors"))) > 2
    # A file's tensors lie at other addresses, and matrix kernels round by alignment: move them to fresh memory first.
    one, other = (copy.deepcopy(some)(**inputs).logits for some in (again, found[0]))
    assert torch.equal(one, other)


def test_a_model_that_is_left_on_the_disk_in_part_is_refused(tmp_path: Path) -> None:
    small_dense("llama", "AutoModelForCausalLM").save_pretrained(tmp_path / "dense")
    places = {"model.layers.0": "disk"} | dict.fromkeys(
        ("model.embed_tokens", "model.layers.1", "model.norm", "model.rotary_emb", "lm_head"), "cpu"
    )
    source = AutoModelForCausalLM.from_pretrained(
        tmp_path / "dense", device_map=places, offload_folder=tmp_path / "offloaded"
    )
    with pytest.raises(
        PADNetError, match=r"not all in memory \(its device_map leaves some on the disk\).*device_map='cpu'"
    ):
        pad_class("llama", "AutoModelForCausalLM").from_dense(source)
