"""What PAD-ResNet takes and gives beside the invariants: images, stems, heads, layouts, precisions."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from transformers import (
    AutoBackbone,
    AutoModel,
    AutoModelForImageClassification,
    ResNetForImageClassification,
    set_seed,
)

from padnet_hf import (
    PADNetError,
    PADResNetBackbone,
    PADResNetConfig,
    PADResNetForImageClassification,
    PADResNetModel,
    PartitionConfig,
    partition,
)
from padnet_hf.layers.kernel_attention import KernelAttention
from padnet_hf.method.layer import pad_weights

TINY = {"layer_type": "basic", "embedding_size": 8, "hidden_sizes": [16, 24], "depths": [1, 1]}
SMALL_STEM = {"stem_kernel_size": 3, "stem_stride": 1, "stem_pool": False}

Make = Callable[..., PADResNetForImageClassification]


@pytest.mark.parametrize("shape", [(2, 1, 32, 32), (2, 4, 32, 32), (3, 32, 32)])
def test_images_with_another_number_of_channels_are_refused(shape: tuple[int, ...]) -> None:
    model = PADResNetForImageClassification(PADResNetConfig(**TINY))
    with pytest.raises(PADNetError, match=r"pixel_values has the shape .* takes \(batch, 3, height, width\).*convert"):
        model(torch.zeros(shape))


def test_grey_images_in_a_model_for_grey_images() -> None:
    model = PADResNetForImageClassification(PADResNetConfig(**TINY, num_channels=1, num_labels=7))
    assert model(torch.randn(2, 1, 28, 28)).logits.shape == (2, 7)


@pytest.mark.parametrize("auto_class", [AutoModel, AutoModelForImageClassification, AutoBackbone])
def test_auto_classes_build_ours_from_the_configuration(auto_class: type) -> None:
    model = auto_class.from_config(PADResNetConfig(**TINY))
    assert type(model) in (PADResNetModel, PADResNetForImageClassification, PADResNetBackbone)


@pytest.mark.parametrize(("fields", "side"), [({}, 4), (SMALL_STEM, 16), ({"stem_pool": False}, 8)])
def test_a_small_stem_keeps_small_images_large(fields: dict[str, object], side: int) -> None:
    model = PADResNetModel(PADResNetConfig(**TINY, **fields))
    assert model(torch.zeros(2, 3, 32, 32)).last_hidden_state.shape == (2, 24, side, side)


def test_from_dense_refuses_a_stem_that_the_checkpoint_does_not_have(dense: ResNetForImageClassification) -> None:
    with pytest.raises(PADNetError):
        PADResNetForImageClassification.from_dense(dense, **SMALL_STEM)


@pytest.mark.parametrize("patterns", [[], ["encoder.stages.1.*"], ["*"]])
def test_any_choice_of_dynamic_layers_keeps_the_logits(
    dense: ResNetForImageClassification, batch: dict[str, Tensor], dense_logits: Tensor, patterns: list[str]
) -> None:
    model = PADResNetForImageClassification.from_dense(dense, dynamic_layers=patterns)
    with torch.no_grad():
        assert (model(**batch).logits - dense_logits).abs().max() <= 1e-5


@pytest.mark.parametrize("granularity", ["element", "unit"])
def test_channels_last_gives_the_same_logits(partitioned: Make, batch: dict[str, Tensor], granularity: str) -> None:
    model = partitioned(granularity=granularity, dynamic_ratio=0.3)
    images = batch["pixel_values"].to(memory_format=torch.channels_last)
    with torch.no_grad():
        torch.testing.assert_close(model(images).logits, model(batch["pixel_values"]).logits, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("granularity", ["element", "unit"])
def test_bfloat16_and_autocast_stay_close_to_float32(
    partitioned: Make, batch: dict[str, Tensor], granularity: str
) -> None:
    model = partitioned(granularity=granularity)
    with torch.no_grad():
        expected = model(**batch).logits
        with torch.autocast("cpu", dtype=torch.bfloat16):
            mixed = model(**batch).logits
        half = model.to(torch.bfloat16)(batch["pixel_values"].to(torch.bfloat16)).logits
    for logits in (mixed, half):
        assert logits.dtype == torch.bfloat16
        assert (logits.float() - expected).abs().max() < 0.1 * expected.abs().max()


def test_a_new_model_starts_with_weights_of_the_stock_models_scale() -> None:
    set_seed(0)
    fields = {"layer_type": "basic", "embedding_size": 32, "hidden_sizes": [64, 128], "depths": [1, 1]}
    config = PADResNetConfig(**fields)
    ours, stock = PADResNetForImageClassification(config), ResNetForImageClassification(config.to_dense())
    for name, weight in pad_weights(ours).items():
        expected = stock.get_submodule(name.removesuffix(".weight")).weight
        assert weight.dynamic.std().item() == pytest.approx(expected.std().item(), rel=0.1), name
        assert not torch.equal(weight.dynamic[0], weight.dynamic[1])


@pytest.mark.parametrize("granularity", ["element", "unit"])
def test_every_parameter_of_a_partitioned_model_gets_a_gradient(
    partitioned: Make, batch: dict[str, Tensor], granularity: str
) -> None:
    model = partitioned(granularity=granularity).train()
    model(**batch).loss.backward()
    missing = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    assert not missing


def test_set_temperature_reaches_every_attention_and_the_configuration(
    upcycled: PADResNetForImageClassification,
) -> None:
    upcycled.set_temperature(12)
    attentions = [module for module in upcycled.modules() if isinstance(module, KernelAttention)]
    assert {attention.temperature for attention in attentions} == {upcycled.config.temperature} == {12.0}
    for wrong in (0, -1.0, float("nan")):
        with pytest.raises(PADNetError, match="temperature is"):
            upcycled.set_temperature(wrong)
    assert upcycled.config.temperature == 12


def test_a_new_model_starts_with_logits_of_attention_in_pairs() -> None:
    model = PADResNetModel(PADResNetConfig(hidden_sizes=[32, 64], depths=[1, 1]))
    attentions = [module for module in model.modules() if isinstance(module, KernelAttention)]
    assert attentions
    for attention in attentions:
        assert attention.score.weight[0].any()
        assert torch.equal(attention.score.weight[1], -attention.score.weight[0])
        assert not attention.score.bias.any()


@pytest.mark.parametrize("training", [True, False])
def test_a_model_from_another_class_keeps_its_mode(dense: ResNetForImageClassification, training: bool) -> None:
    was = dense.training
    model = PADResNetModel.from_dense(dense.train(training))
    dense.train(was)
    assert all(module.training is training for module in model.modules())


@pytest.mark.parametrize("attention", ["softmax", "sigmoid"])
def test_to_dense_of_a_trained_attention_is_exact_or_refused(attention: str) -> None:
    """A sigmoid's weights sum to one as long as its logits are in pairs, a softmax's always."""
    config = {"layer_type": "basic", "embedding_size": 8, "hidden_sizes": [8], "depths": [1], "num_kernels": 4}
    model = PADResNetForImageClassification(PADResNetForImageClassification.config_class(**config, attention=attention))
    with torch.no_grad():
        for weight in pad_weights(model).values():
            weight.dynamic.copy_(weight.dynamic[:1].clone())
    images = {"pixel_values": torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))}
    model.eval()
    torch.testing.assert_close(model.to_dense()(**images).logits, model(**images).logits, rtol=1e-4, atol=1e-5)
    for module in model.modules():
        if isinstance(module, KernelAttention):
            torch.nn.init.constant_(module.score.bias, 0.7)
    static = copy.deepcopy(model)
    if attention == "softmax":
        torch.testing.assert_close(model.to_dense()(**images).logits, model(**images).logits, rtol=1e-4, atol=1e-5)
    else:
        with pytest.raises(PADNetError, match=r"attention that was trained, .* do not sum to one \(sigmoid\)"):
            model.to_dense()
    partition(static, None, PartitionConfig(dynamic_ratio=0), progress=False)
    torch.testing.assert_close(static.to_dense()(**images).logits, static(**images).logits, rtol=1e-4, atol=1e-5)
