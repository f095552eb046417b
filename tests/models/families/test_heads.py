"""Heads of routed models: the stock output first, then what the routers decided, and the loss that follows from it."""

import copy
import inspect
import io
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import Cache

from padnet_hf import PADNetError, PartitionConfig, partition
from padnet_hf.layers.router import squared_variation
from padnet_hf.models.moe_model import PADMoEMixin
from padnet_hf.models.outputs import RoutedOutput
from padnet_hf.transformers_seams import CHECKPOINTING
from tests.models.samples import (
    COPIES,
    HEADS,
    MIXTURES,
    UPCYCLED,
    classifier_of,
    family_of,
    inputs_of,
    labels_of,
    outputs_of,
    pad_class,
    small_dense,
    small_pad,
)

ROUTED = [pair for pair in HEADS if pair[0] in UPCYCLED]

every_routed_head = pytest.mark.parametrize(
    ("dense", "auto_class"), ROUTED, ids=[pad_class(*pair).__name__ for pair in ROUTED]
)
every_routed_family = pytest.mark.parametrize("dense", UPCYCLED)
every_family = pytest.mark.parametrize("dense", [*UPCYCLED, *MIXTURES])


def labelled(model: nn.Module) -> dict[str, Tensor]:
    inputs = inputs_of(model)
    return inputs | labels_of(model, inputs)


@every_routed_head
def test_the_stock_output_comes_first_with_the_stock_values(dense: str, auto_class: str) -> None:
    stock = small_dense(dense, auto_class)
    model = pad_class(dense, auto_class).from_dense(stock, num_experts=4)
    asked = {"output_hidden_states": True}
    expected, found = stock(**labelled(stock), **asked), model(**labelled(model), **asked)
    assert isinstance(found, type(expected))
    assert isinstance(found, RoutedOutput)
    for name, value in expected.items():
        for one, other in zip(tensors_of(value), tensors_of(found[name]), strict=True):
            torch.testing.assert_close(other, one, rtol=1e-4, atol=1e-5)
    as_tuple = model(**labelled(model), return_dict=False)
    assert type(as_tuple) is tuple
    for values in zip(stock(**labelled(stock), return_dict=False), as_tuple, strict=False):
        for one, other in zip(*map(tensors_of, values), strict=True):
            torch.testing.assert_close(other, one, rtol=1e-4, atol=1e-5)


def tensors_of(value: Any) -> list[Tensor]:
    """Of a tensor, of several, or of a cache."""
    if isinstance(value, Cache):
        return [tensor for layer in value.layers for tensor in (layer.keys, layer.values)]
    return [value] if isinstance(value, Tensor) else list(value)


def balance_by_loop(logits: Tensor, keep: Tensor, top_k: int) -> float:
    """CV^2 of the gates' sums and of how often each expert is chosen, over real tokens."""
    importance, load = torch.zeros(logits.shape[1]), torch.zeros(logits.shape[1])
    for row, is_real in zip(logits, keep.tolist(), strict=True):
        if is_real:
            top = row.topk(top_k)
            importance[top.indices] += top.values.softmax(dim=0)
            load[top.indices] += 1
    return (squared_variation(importance) + squared_variation(load)).item()


@every_routed_head
def test_the_balance_loss_is_over_real_tokens_and_training_adds_it(dense: str, auto_class: str) -> None:
    model = small_pad(dense, auto_class, balance_loss_coef=0.5)
    inputs = labelled(model)
    found = model(**inputs, output_router_logits=True)
    assert found.loss == found.task_loss
    mask = inputs.get("attention_mask", torch.ones(found.router_logits[0].shape[0])).flatten()
    top_k = model.config.num_experts_per_tok
    expected = sum(balance_by_loop(logits, mask, top_k) for logits in found.router_logits)
    assert found.balance_loss.item() == pytest.approx(expected, rel=1e-4)
    trained = without_dropout(model.train())(**inputs)
    torch.testing.assert_close(trained.loss, trained.task_loss + 0.5 * trained.balance_loss)


def without_dropout(model: nn.Module) -> nn.Module:
    for module in model.modules():
        for name in ("dropout", "attention_dropout"):
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, 0.0)
        if "Dropout" in type(module).__name__:
            module.p = module.drop_prob = 0.0
    return model


@every_routed_family
def test_a_router_is_asked_once_for_every_pass_through_its_layer(dense: str) -> None:
    model = small_pad(dense, "AutoModel")
    found = model(**inputs_of(model), output_router_logits=True)
    assert len(found.router_logits) == model.config.num_hidden_layers  # ALBERT's one layer is passed twice
    assert {logits.shape[1] for logits in found.router_logits} == {4}
    assert model(**inputs_of(model)).router_logits is None
    assert model(**inputs_of(model)).balance_loss is None


@every_family
def test_the_bare_model_inside_of_a_head_is_one_of_ours(dense: str) -> None:
    model = small_pad(dense, classifier_of(dense))
    assert type(model.base_model) is family_of(dense).models["AutoModel"]
    found = outputs_of(model.base_model, **inputs_of(model))
    assert all(tensor.isfinite().all() for tensor in found)


@every_routed_head
def test_the_signature_is_the_stock_one_which_the_trainer_reads(dense: str, auto_class: str) -> None:
    model = pad_class(dense, auto_class)
    assert inspect.signature(model.forward) == inspect.signature(model.dense_class.forward)


@every_routed_family
def test_positions_of_arguments_are_the_stock_ones(dense: str) -> None:
    model = small_pad(dense, classifier_of(dense))
    inputs = labelled(model)
    by_name = model(**inputs)
    in_order = [inputs.get(name) for name in inspect.signature(model.forward).parameters][: len(inputs)]
    if None not in [0 if value is not None else None for value in in_order]:
        torch.testing.assert_close(model(*in_order).logits, by_name.logits)
        assert model(*in_order).balance_loss == by_name.balance_loss


@every_family
@pytest.mark.parametrize("granularity", ["element", "unit"])
def test_activation_checkpointing_changes_no_gradient(dense: str, granularity: str) -> None:
    model = small_pad(dense, classifier_of(dense))
    if not model.supports_gradient_checkpointing:
        pytest.skip("the stock model has no activation checkpointing")
    partition(model, [labelled(model)], PartitionConfig(granularity=granularity), progress=False)
    without_dropout(model).train()

    def gradients() -> dict[str, Tensor]:
        model.zero_grad()
        output = model(**labelled(model))
        output.loss.backward()
        return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}

    expected = gradients()
    getattr(model, f"{CHECKPOINTING}_enable")()
    found = gradients()
    assert any(name.endswith(("router.weight", "gate.weight")) and gradient.any() for name, gradient in found.items())
    assert expected.keys() == found.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-6, msg=name)


@every_routed_family
def test_padding_changes_neither_logits_nor_balance_loss(dense: str) -> None:
    model = small_pad(dense, classifier_of(dense))
    if model.main_input_name == "pixel_values":
        pytest.skip("images have no padding")
    ids = inputs_of(model, batch=1)["input_ids"]
    labels = {"labels": torch.tensor([1])}
    bare = model(input_ids=ids, attention_mask=torch.ones_like(ids), **labels)
    pad = model.config.pad_token_id
    longer = nn.functional.pad(ids, (0, 4), value=pad)
    mask = nn.functional.pad(torch.ones_like(ids), (0, 4))
    padded = model(input_ids=longer, attention_mask=mask, **labels)
    torch.testing.assert_close(padded.logits, bare.logits, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(padded.balance_loss, bare.balance_loss, rtol=1e-4, atol=1e-5)


@every_routed_family
def test_only_the_layers_asked_for_are_dynamic(dense: str) -> None:
    if family_of(dense).seam.is_shared:
        pytest.skip("its layers are one: refused, see test_declarations")
    stock = small_dense(dense, classifier_of(dense))
    model = pad_class(dense, classifier_of(dense)).from_dense(stock, num_experts=4, moe_layers=[1])
    assert len(model.partition_report().layers) == 1
    torch.testing.assert_close(model(**inputs_of(model)).logits, stock(**inputs_of(stock)).logits, rtol=1e-4, atol=1e-5)
    assert type(model.to_dense()) is type(stock)


@every_family
@pytest.mark.parametrize("implementation", ["eager", "grouped_mm", "batched_mm"])
@pytest.mark.parametrize("granularity", ["element", "unit"])
def test_implementations_of_experts_agree(dense: str, implementation: str, granularity: str) -> None:
    model = small_pad(dense, classifier_of(dense))
    partition(model, [labelled(model)], PartitionConfig(granularity=granularity), progress=False)
    expected = model(**inputs_of(model)).logits
    model.set_experts_implementation(implementation)
    assert model.config._experts_implementation == implementation
    torch.testing.assert_close(model(**inputs_of(model)).logits, expected, rtol=1e-4, atol=1e-5)


@every_family
def test_an_implementation_can_be_asked_for_while_loading(dense: str, tmp_path: Any) -> None:
    model = small_pad(dense, classifier_of(dense))
    model.save_pretrained(tmp_path)
    loaded = type(model).from_pretrained(tmp_path, experts_implementation="grouped_mm")
    assert {m.implementation for m in loaded.modules() if hasattr(m, "implementation")} == {"grouped_mm"}
    torch.testing.assert_close(
        loaded(**inputs_of(model)).logits, model(**inputs_of(model)).logits, rtol=1e-4, atol=1e-5
    )
    assert type(model).from_pretrained(tmp_path).config._experts_implementation == "pad"


def test_grouped_mm_is_refused_where_sizes_do_not_fit_and_the_default_runs_there() -> None:
    model = small_pad("bert", "AutoModelForSequenceClassification", intermediate_size=37)
    assert model(**inputs_of(model)).logits.isfinite().all()
    with pytest.raises(PADNetError, match=r"multiples of 4.*37.*eager"):
        model.set_experts_implementation("grouped_mm")


@every_family
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda model: torch.load(saved(model), weights_only=False)])
def test_a_model_that_has_been_used_can_be_copied_and_pickled(
    dense: str, copied: Callable[[PADMoEMixin], PADMoEMixin]
) -> None:
    model = small_pad(dense, classifier_of(dense))
    model.train()(**labelled(model)).loss.backward()
    model.eval().zero_grad()
    if dense not in MIXTURES:  # what stock models have recorded once leaves hooks in them that are not pickled
        model(**labelled(model), output_router_logits=True)
    again = copied(model)
    assert torch.equal(again(**inputs_of(model)).logits, model(**inputs_of(model)).logits)


def saved(model: nn.Module) -> io.BytesIO:
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    return file


@every_family
@pytest.mark.parametrize("granularity", ["element", "unit"])
def test_half_precision_comes_near_float32(dense: str, granularity: str) -> None:
    model = pad_class(dense, classifier_of(dense)).from_dense(
        small_dense(dense, classifier_of(dense)), **COPIES["experts"]
    )
    partition(model, [labelled(model)], PartitionConfig(granularity=granularity), progress=False)
    inputs = inputs_of(model)
    expected = model(**inputs).logits
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = model(**inputs).logits
    half = {name: t.to(torch.bfloat16) if t.is_floating_point() else t for name, t in inputs.items()}
    for logits in (mixed, model.to(torch.bfloat16)(**half).logits):
        assert (logits.float() - expected).abs().max() <= 0.1 * max(1.0, expected.abs().max().item())
