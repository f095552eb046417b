"""DESIGN's invariants where every copy keeps elements of its own, or neurons of its own without any others."""

import copy
import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from peft import PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional as F

from padnet_hf import (
    PADDynamicConv2d,
    PADNetError,
    PartitionConfig,
    export_stock,
    lora_config,
    partition,
    sparsify_adapter,
)
from padnet_hf.export.program import exported_program, graph_of, random_inputs
from padnet_hf.hub.inspection import inspect_checkpoint
from padnet_hf.hub.model_card import write_card
from padnet_hf.layers.experts import PADExperts
from padnet_hf.method.layer import pad_weights
from padnet_hf.models.pad_model import PADModelMixin
from tests.layers.reference import reference_experts
from tests.models.families.test_invariants import difference, upcycled
from tests.models.samples import inputs_of, labels_of, set_apart, small_pad

FORMS: dict[str, dict[str, Any]] = {
    "per_copy": {"masks": "per_copy"},
    "left_out": {"masks": "per_copy", "granularity": "unit", "static_values": "none"},
}
HEADS = {
    "bert": "AutoModelForSequenceClassification",
    "llama": "AutoModelForCausalLM",
    "resnet": "AutoModelForImageClassification",
}
every_family = pytest.mark.parametrize("dense", HEADS)
every_case = pytest.mark.parametrize(
    ("dense", "form"), [(dense, form) for dense in HEADS for form in FORMS if (dense, form) != ("resnet", "left_out")]
)


def labelled(model: PADModelMixin) -> dict[str, Tensor]:
    inputs = inputs_of(model)
    return inputs | labels_of(model, inputs)


def split(model: PADModelMixin, form: str, **fields: Any) -> PADModelMixin:
    config = PartitionConfig.for_model(model, **FORMS[form], **{"num_rounds": 2} | fields)
    partition(model, [labelled(model)], config, progress=False)
    return model


def made(dense: str, form: str, **changed: Any) -> PADModelMixin:
    """A classifier or language model in this form, its copies and scale factors apart as after training."""
    return set_apart(split(small_pad(dense, HEADS[dense], **changed), form))


@every_family
@pytest.mark.parametrize("criterion", ["snip", "random"])
def test_partitioning_what_is_upcycled_keeps_all_outputs(dense: str, criterion: str) -> None:
    stock, model = upcycled(dense, HEADS[dense])
    split(model, "per_copy", criterion=criterion)
    weights = pad_weights(model).values()
    assert any(weight.has_own_masks and not (weight.mask() == weight.mask()[:1]).all() for weight in weights)
    assert difference(stock, model) <= 1e-5
    assert difference(stock, model.to_dense()) <= 1e-5
    with pytest.raises(PADNetError, match=r"copies of .* differ"):
        set_apart(model).to_dense()


@every_family
def test_ratio_one_is_fully_dynamic_and_ratio_zero_is_the_stock_model(dense: str) -> None:
    stock, model = upcycled(dense, HEADS[dense])
    whole = split(copy.deepcopy(model), "per_copy", dynamic_ratio=1)
    assert all(weight.is_fully_dynamic for weight in pad_weights(whole).values())
    assert difference(whole, model) == 0
    static = split(model, "per_copy", dynamic_ratio=0)
    assert all(torch.equal(t, stock.state_dict()[name]) for name, t in static.to_dense().state_dict().items())


@every_case
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_checkpoint_holds_what_the_formula_says_and_loads_bit_equal(
    dense: str, form: str, dtype: torch.dtype, tmp_path: Path
) -> None:
    model = made(dense, form).to(dtype)
    model.save_pretrained(tmp_path, max_shard_size="30KB" if dtype == torch.float32 else "1GB")
    tensors = {name: t for file in tmp_path.glob("*.safetensors") for name, t in load_file(file).items()}
    weights, formula = pad_weights(model), 0
    for weight in weights.values():
        formula += weight.num_copies * weight.num_dynamic_elements * dtype.itemsize
        if weight.phi is not None:
            formula += (weight.shape.numel() + 1) * dtype.itemsize
            formula += weight.num_copies * -(-weight.shape.numel() // 8)
        elif weight.is_static:
            formula += weight.shape.numel() * dtype.itemsize
    assert sum(t.nbytes for name, t in tensors.items() if name.rsplit(".", 1)[0] in weights) == formula
    assert json.loads((tmp_path / "config.json").read_text())["partition"]["masks"] == "per_copy"
    auto_class = getattr(transformers, HEADS[dense])
    loaded, info = auto_class.from_pretrained(tmp_path, output_loading_info=True, dtype=dtype)
    assert not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert loaded.config.partition == model.config.partition
    assert all(torch.equal(t, model.state_dict()[name]) for name, t in loaded.state_dict().items())
    if dtype == torch.float32:
        assert difference(copy.deepcopy(loaded), model) == 0
        assert inspect_checkpoint(tmp_path).report.to_dict() == model.partition_report().to_dict()


def built_and_mixed(self: PADDynamicConv2d, inputs: Tensor) -> Tensor:
    """sum_k pi_k Theta_k for one sample after the other."""
    kernels = self.weight.build()
    pairs = zip(inputs, self.attention(inputs), strict=True)
    mixed = [(x, sum(share * kernel for share, kernel in zip(shares, kernels, strict=True))) for x, shares in pairs]
    return torch.cat([F.conv2d(x[None], kernel, None, *self.geometry) for x, kernel in mixed])


@every_case
def test_logits_and_every_gradient_equal_the_slow_loop(dense: str, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = made(dense, form).double()
    inputs = {n: t.double() if t.is_floating_point() else t for n, t in labelled(model).items()}

    def run() -> dict[str, Tensor]:
        model.zero_grad()
        output = model(**inputs)
        output.loss.backward()
        found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
        return {"logits": output.logits.detach(), **found}

    fast = run()
    monkeypatch.setattr(PADExperts, "forward", reference_experts)
    monkeypatch.setattr(PADDynamicConv2d, "forward", built_and_mixed)
    slow = run()
    assert fast.keys() == slow.keys()
    assert any(slow[name].abs().max() > 1e-6 for name in slow if name.endswith(".dynamic"))
    for name, tensor in slow.items():  # gates are float32
        torch.testing.assert_close(fast[name], tensor, rtol=1e-4, atol=2e-6, msg=lambda m, n=name: f"{n}: {m}")


@every_case
def test_copies_and_state_dicts_bring_form_and_record(dense: str, form: str) -> None:
    model = made(dense, form)
    fresh = small_pad(dense, HEADS[dense])
    fresh.load_state_dict(model.state_dict())
    assert difference(fresh, model) == 0
    kind = {"granularity": "element" if form == "per_copy" else "unit", "masks": "per_copy"}
    assert kind.items() <= fresh.config.partition.items()
    assert fresh.config.dynamic_counts == model.config.dynamic_counts
    assert fresh.config.partition.get("mask_hash") == (
        model.config.partition["mask_hash"] if form == "per_copy" else None
    )
    again = type(model)(model.config).eval()
    assert again.state_dict().keys() == model.state_dict().keys()
    again.load_state_dict(model.state_dict())
    assert again.config.partition == model.config.partition
    for same in (again, copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert difference(same, model) == 0
    assert type(model)(model.config).config.partition == kind


@pytest.mark.parametrize(
    ("dense", "form"),
    [("bert", "per_copy"), ("resnet", "per_copy"), pytest.param("llama", "left_out", marks=pytest.mark.slow)],
)
def test_one_graph_holds_it_for_any_batch(dense: str, form: str) -> None:
    model = made(dense, form)
    program, _ = exported_program(model)
    inputs = random_inputs(model, 3, 5)
    with torch.no_grad():
        expected, found = graph_of(model)(**inputs), program.module()(**inputs)
    torch.testing.assert_close(found["logits"], expected["logits"], rtol=1e-4, atol=1e-4)


def test_a_mask_with_another_count_in_one_copy_is_refused(tmp_path: Path) -> None:
    model = made("bert", "per_copy")
    model.save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    name = next(name for name in tensors if name.endswith("up_proj.mask_bits"))
    tensors[name][1, 0] ^= 1
    tensors[name][2, 0] ^= 1
    save_file(tensors, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(PADNetError, match=r"up_proj has \d+ set bits, but dynamic_counts says \d+"):
        type(model).from_pretrained(tmp_path)


@pytest.mark.parametrize(("masks", "granularity"), [("own", "element"), (1, "unit")])
def test_masks_that_are_none_are_refused(masks: Any, granularity: str) -> None:
    model = small_pad("bert", HEADS["bert"])
    with pytest.raises(PADNetError, match=rf"partition\['masks'\] is {masks!r}, but must be 'shared' or 'per_copy'"):
        type(model.config)(partition={"granularity": granularity, "masks": masks})


def test_output_channels_cannot_be_left_out() -> None:
    model = small_pad("resnet", HEADS["resnet"])
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(PADNetError, match="a channel cannot be left out"):
        split(model, "left_out")
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("dense", ["bert", "llama"])
def test_an_adapter_reaches_smaller_experts_and_merges(dense: str, tmp_path: Path) -> None:
    model = made(dense, "left_out")
    model.save_pretrained(tmp_path / "base")
    config = lora_config(model, rank=2)
    assert any("dynamic" in name for name in config.target_parameters)
    adapted = get_peft_model(copy.deepcopy(model), config)
    sparsify_adapter(adapted, [labelled(model)], sparsity=0.5)
    optimizer = torch.optim.SGD(adapted.parameters(), lr=0.5)
    adapted(**labelled(model)).loss.backward()
    assert all(p.grad is not None for name, p in adapted.named_parameters() if "lora_B" in name)
    optimizer.step()
    expected = adapted.eval()(**inputs_of(model)).logits
    adapted.save_pretrained(tmp_path / "adapter")
    again = PeftModel.from_pretrained(type(model).from_pretrained(tmp_path / "base"), tmp_path / "adapter").eval()
    assert (expected - model(**inputs_of(model)).logits).abs().max() > 1e-5
    for one in (again, again.merge_and_unload()):
        torch.testing.assert_close(one(**inputs_of(model)).logits, expected, rtol=1e-4, atol=1e-5)


def test_packed_values_of_each_copy_are_no_matrices_for_an_adapter() -> None:
    model = made("bert", "per_copy")
    with pytest.raises(PADNetError, match="packed, not matrices"):
        lora_config(model, targets=["experts"])
    adapted = get_peft_model(model, lora_config(model, rank=2))
    adapted(**labelled(model)).loss.backward()


@every_case
def test_the_card_says_that_copies_keep_other_parts_each(dense: str, form: str, tmp_path: Path) -> None:
    model = made(dense, form)
    model.save_pretrained(tmp_path)
    model.partition_report().plot(tmp_path / "partition.png")
    found = inspect_checkpoint(tmp_path)
    text = " ".join(str(write_card(tmp_path, found.config, found.report, repository="org/name")).split())
    ours = "other ones in each, and the rest is left out. That is" if form == "left_out" else "it takes static values"
    assert ours in text
    assert "masks='per_copy'" in text


def test_a_token_passes_the_smaller_experts_alone() -> None:
    model = made("llama", "left_out")
    report = model.partition_report()
    weights = pad_weights(model)
    inner = [w.num_dynamic for name, w in weights.items() if name.endswith("down_proj")]
    hidden, chosen = model.config.hidden_size, model.config.num_experts_per_tok
    assert report.current.multiply_adds == sum(chosen * 3 * hidden * count for count in inner)
    assert report.current.parameters < report.fully_dynamic.parameters


def test_masks_of_each_copy_have_no_stock_form(tmp_path: Path) -> None:
    with pytest.raises(PADNetError, match="by element"):
        export_stock(made("llama", "per_copy", mlp_bias=False, attention_bias=False), tmp_path / "stock")


@pytest.mark.parametrize(("form", "message"), [("left_out", "left out"), ("per_copy", "copies of .* differ")])
def test_no_dense_model_is_made_of_copies_that_differ(form: str, message: str) -> None:
    with pytest.raises(PADNetError, match=message):
        made("llama", form).to_dense()
