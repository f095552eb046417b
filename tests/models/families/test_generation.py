"""Text from language models: as the stock ones make it, however it is asked for."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode
from transformers import GenerationConfig, PreTrainedModel

from padnet_hf import PartitionConfig, partition
from padnet_hf.models.pad_model import PADModelMixin
from tests.models.families.test_heads import balance_by_loop
from tests.models.samples import HEADS, UPCYCLED, pad_class, set_apart, small_dense, small_pad, with_equal_copies

CAUSAL = "AutoModelForCausalLM"
FAMILIES = [dense for dense, auto_class in HEADS if auto_class == CAUSAL]

every_family = pytest.mark.parametrize("dense", FAMILIES)
every_routed_family = pytest.mark.parametrize("dense", [dense for dense in FAMILIES if dense in UPCYCLED])
granularities = pytest.mark.parametrize("granularity", ["element", "unit"])

WAYS: dict[str, dict[str, Any]] = {
    "greedy": {},
    "sampling": {"do_sample": True, "temperature": 1.5, "top_k": 0},
    "beams": {"num_beams": 3},
    "static cache": {"cache_implementation": "static"},
    "no cache": {"use_cache": False},
}


def _split(model: PADModelMixin, granularity: str, ratio: float = 0.5) -> PADModelMixin:
    config = PartitionConfig(dynamic_ratio=ratio, criterion="random", granularity=granularity)
    partition(model, None, config, progress=False)
    return model


def _model(dense: str, granularity: str, **fields: Any) -> PADModelMixin:
    """In evaluation mode, with copies and scale factors apart as after training."""
    return set_apart(_split(small_pad(dense, CAUSAL, **fields), granularity))


def _prompts(model: PreTrainedModel, padded: bool = True) -> dict[str, Tensor]:
    """Two of five tokens, or the second one of three, padded on the left."""
    ids = torch.randint(4, model.config.vocab_size, (2, 5), generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(ids)
    if padded:
        mask[1, :2] = 0
    return {"input_ids": ids.masked_fill(mask == 0, model.config.pad_token_id), "attention_mask": mask}


def _generated(model: PreTrainedModel, inputs: dict[str, Tensor], **options: Any) -> Tensor:
    """The eight tokens that follow."""
    torch.manual_seed(0)
    tokens = model.generate(**inputs, min_new_tokens=8, max_new_tokens=8, **options)
    return tokens[:, inputs["input_ids"].shape[1] :]


@every_family
@granularities
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_an_upcycled_model_writes_what_the_dense_one_writes(dense: str, granularity: str, way: dict[str, Any]) -> None:
    stock = with_equal_copies(small_dense(dense, CAUSAL))
    model = _split(pad_class(dense, CAUSAL).from_dense(stock, num_experts=4), granularity)
    inputs, options = _prompts(stock), {"no_repeat_ngram_size": 1, **way}  # or small models repeat themselves
    expected = _generated(stock, inputs, **options)
    assert len(set(expected[0].tolist())) == 8
    assert torch.equal(_generated(model, inputs, **options), expected)


@every_family
@granularities
def test_caches_of_both_kinds_give_what_a_whole_forward_gives(dense: str, granularity: str) -> None:
    model = _model(dense, granularity)
    inputs = _prompts(model, padded=False)
    tokens = {cache: _generated(model, inputs, cache_implementation=cache) for cache in ("static", "dynamic")}
    assert torch.equal(tokens["static"], tokens["dynamic"])
    text = torch.cat([inputs["input_ids"], tokens["dynamic"]], dim=1)
    with torch.no_grad():
        whole, cache, steps = model(text, use_cache=False).logits, None, []
        for token in text.split(1, dim=1):
            output = model(token, past_key_values=cache, use_cache=True)
            cache = output.past_key_values
            steps.append(output.logits)
    torch.testing.assert_close(torch.cat(steps, dim=1), whole, rtol=1e-5, atol=1e-5)
    following = whole[:, inputs["input_ids"].shape[1] - 1 : -1]
    following[..., model.config.eos_token_id] = -torch.inf
    assert torch.equal(following.argmax(dim=-1), tokens["dynamic"])


@every_family
@granularities
def test_padding_on_the_left_changes_no_token(dense: str, granularity: str) -> None:
    model = _model(dense, granularity)
    inputs = _prompts(model)
    alone = {name: values[1:, 2:] for name, values in inputs.items()}
    assert torch.equal(_generated(model, inputs)[1:], _generated(model, alone))


@every_family
@granularities
def test_logits_to_keep_are_the_last_ones(dense: str, granularity: str) -> None:
    model = _model(dense, granularity)
    inputs = _prompts(model)
    with torch.no_grad():
        torch.testing.assert_close(model(**inputs, logits_to_keep=2).logits, model(**inputs).logits[:, -2:])


@every_family
@granularities
def test_kinds_of_attention_agree(dense: str, granularity: str) -> None:
    model = _model(dense, granularity)
    inputs = _prompts(model)
    kept = inputs["attention_mask"].bool()
    found = {}
    for kind in ("eager", "sdpa"):
        model.set_attn_implementation(kind)
        with torch.no_grad():
            found[kind] = model(**inputs).logits[kept], _generated(model, inputs)
    torch.testing.assert_close(found["eager"][0], found["sdpa"][0], rtol=1e-5, atol=1e-5)
    assert torch.equal(found["eager"][1], found["sdpa"][1])


@every_family
def test_seeds_decide_what_is_sampled(dense: str) -> None:
    model = _model(dense, "unit")
    inputs, options = _prompts(model), WAYS["sampling"]
    first = _generated(model, inputs, **options)
    assert torch.equal(_generated(model, inputs, **options), first)
    torch.manual_seed(1)
    other = model.generate(**inputs, min_new_tokens=8, max_new_tokens=8, **options)[:, 5:]
    assert not torch.equal(other, first)


@every_family
def test_how_to_generate_is_kept_by_conversions_and_checkpoints(dense: str, tmp_path: Any) -> None:
    stock = small_dense(dense, CAUSAL)
    stock.generation_config = GenerationConfig(max_new_tokens=7, do_sample=True, top_k=5, eos_token_id=[3, 4])
    model = pad_class(dense, CAUSAL).from_dense(stock, num_experts=4)
    model.save_pretrained(tmp_path / "pad")
    loaded = type(model).from_pretrained(tmp_path / "pad")
    for some in (model, loaded, loaded.to_dense()):
        kept = some.generation_config
        assert (kept.max_new_tokens, kept.do_sample, kept.top_k, kept.eos_token_id) == (7, True, 5, [3, 4])


@every_routed_family
@granularities
def test_nothing_dynamic_takes_the_work_of_a_dense_model(dense: str, granularity: str) -> None:
    stock = small_dense(dense, CAUSAL)
    model = _split(pad_class(dense, CAUSAL).from_dense(stock, num_experts=4), granularity, ratio=0.0)
    work = []
    for some in (stock, model):
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            some(**_prompts(stock))
        work.append(counter.get_total_flops())
    assert work[0] == work[1] > 0


@every_routed_family
def test_new_tokens_after_a_cache_are_balanced_by_their_own_part_of_the_mask(dense: str) -> None:
    model = _model(dense, "unit")
    ids, mask = _prompts(model, padded=False).values()
    mask[0, 4:] = 0
    with torch.no_grad():
        cache = model(ids[:, :3], attention_mask=mask[:, :3], use_cache=True).past_key_values
        options = {"labels": ids[:, 3:], "output_router_logits": True}
        found = model(ids[:, 3:], attention_mask=mask, past_key_values=cache, **options)
    kept = mask[:, 3:].flatten()
    assert kept.tolist() == [1, 0, 1, 1]
    expected = sum(balance_by_loop(logits, kept, 2) for logits in found.router_logits)
    assert found.balance_loss.item() == pytest.approx(expected, rel=1e-4)
