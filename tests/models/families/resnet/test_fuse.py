"""Batch norms folded into convolutions: the same logits, fewer tensors."""

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoModelForImageClassification, ResNetForImageClassification

from padnet_hf import PADNetError, PADResNetBackbone, PADResNetForImageClassification, PartitionConfig, partition
from padnet_hf.method.layer import pad_weights

FORMS: dict[str, dict[str, object] | None] = {
    "fully dynamic": None,
    "ratio one": {"dynamic_ratio": 1},
    "element": {"dynamic_ratio": 0.3},
    "unit": {"dynamic_ratio": 0.3, "granularity": "unit"},
    "static": {"dynamic_ratio": 0},
    "static by unit": {"dynamic_ratio": 0, "granularity": "unit"},
}

Model = PADResNetForImageClassification
Move = Callable[[Model], Model]


@pytest.fixture
def make(upcycled: Model, trained_apart: Move, batch: dict[str, Tensor]) -> Callable[[str], Model]:
    """A model in this form that was trained: nothing is left at its first value."""

    def make(form: str) -> Model:
        if FORMS[form] is not None:
            partition(upcycled, [batch], PartitionConfig(**FORMS[form]), progress=False)
        return trained_apart(upcycled).eval()

    return make


def logits_of(model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
    with torch.no_grad():
        return model(**batch).logits


@pytest.mark.parametrize("form", FORMS)
def test_fusing_keeps_the_logits(make: Callable[[str], Model], batch: dict[str, Tensor], form: str) -> None:
    model = make(form)
    expected, num_parameters = logits_of(model, batch), model.num_parameters()
    channels = sum(norm.num_features for norm in model.modules() if isinstance(norm, nn.BatchNorm2d))
    assert model.fuse() is model
    assert (logits_of(model, batch) - expected).abs().max() <= 1e-4
    assert expected.abs().max() > 0.5  # the bound above means something
    assert not any(isinstance(module, nn.BatchNorm2d) for module in model.modules())
    assert model.num_parameters() == num_parameters - channels  # a shift for a factor and a shift
    assert not any(name.endswith(("running_mean", "running_var")) for name in model.state_dict())


@pytest.mark.parametrize("form", FORMS)
def test_a_fused_model_saves_and_loads(
    make: Callable[[str], Model], batch: dict[str, Tensor], form: str, tmp_path: Path
) -> None:
    model = make(form).fuse()
    model.save_pretrained(tmp_path)
    loaded, info = AutoModelForImageClassification.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert loaded.config.fused
    # A file's tensors lie at other addresses, and matrix kernels round by alignment: move them to fresh memory first.
    assert torch.equal(logits_of(copy.deepcopy(loaded), batch), logits_of(model, batch))
    assert str(loaded) == str(model)


def test_a_fused_backbone_saves_and_loads(
    dense: ResNetForImageClassification, batch: dict[str, Tensor], tmp_path: Path
) -> None:
    backbone = PADResNetBackbone.from_dense(dense).eval()
    with torch.no_grad():
        expected = backbone(batch["pixel_values"]).feature_maps[0]
        backbone.fuse().save_pretrained(tmp_path)
        actual = PADResNetBackbone.from_pretrained(tmp_path)(batch["pixel_values"]).feature_maps[0]
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("form", ["fully dynamic", "unit"])
def test_fusing_twice_changes_nothing(make: Callable[[str], Model], form: str) -> None:
    model = make(form).fuse()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    config = copy.deepcopy(model.config.to_dict())
    model.fuse()
    after = model.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(tensor, before[name]) for name, tensor in after.items())
    assert model.config.to_dict() == config


@pytest.mark.parametrize("form", ["element", "unit"])
def test_masks_scale_factors_and_attention_stay_as_they_are(make: Callable[[str], Model], form: str) -> None:
    model = make(form)
    kept = ("phi", "mask_bits", "squeeze.weight", "score.weight", "score.bias")
    before = {name: tensor.clone() for name, tensor in model.state_dict().items() if name.endswith(kept)}
    counts = {name: weight.num_dynamic for name, weight in pad_weights(model).items()}
    after = model.fuse().state_dict()
    assert {name for name in after if name.endswith(kept)} == set(before)
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    weights = pad_weights(model)
    assert all(weights[name].num_dynamic == count for name, count in counts.items())
    assert all(weight.is_static for name, weight in weights.items() if name not in counts)  # the shifts


def test_a_fused_model_is_in_evaluation_mode(make: Callable[[str], Model]) -> None:
    assert not make("element").train().fuse().training


def test_a_fused_model_runs_in_bfloat16(make: Callable[[str], Model], batch: dict[str, Tensor]) -> None:
    model = make("unit").fuse()
    expected = logits_of(model, batch)
    half = {"pixel_values": batch["pixel_values"].to(torch.bfloat16)}
    assert (logits_of(model.to(torch.bfloat16), half).float() - expected).abs().max() < 0.1 * expected.abs().max()


@pytest.mark.parametrize("form", ["fully dynamic", "static"])
def test_to_dense_of_a_fused_model_is_refused(upcycled: Model, batch: dict[str, Tensor], form: str) -> None:
    if FORMS[form] is not None:
        partition(upcycled, [batch], PartitionConfig(**FORMS[form]), progress=False)
    assert type(upcycled.to_dense()) is ResNetForImageClassification
    with pytest.raises(PADNetError, match="fused=True: no stock model is equal to it"):
        upcycled.fuse().to_dense()


def test_to_dense_with_a_small_stem_is_refused(kind: str) -> None:
    config = {"layer_type": kind, "embedding_size": 8, "hidden_sizes": [16], "depths": [1], "stem_kernel_size": 3}
    model = Model(Model.config_class(**config, num_kernels=1))
    with pytest.raises(PADNetError, match=r"stem_kernel_size=3.*no stock model is equal to it"):
        model.to_dense()


def test_partition_after_fuse_is_refused_for_the_right_reason(make: Callable[[str], Model]) -> None:
    model = make("fully dynamic").fuse()
    with pytest.raises(PADNetError, match=r"batch norms .* are folded .*partition the model before it is fused"):
        partition(model, None, PartitionConfig(criterion="random"), progress=False)
