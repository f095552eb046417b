"""Parameters and multiply-adds of ResNet-50, from the report of models on the meta device (PAPER.md, derived sizes)."""

import pytest
import torch

from padnet_hf import PADDynamicConv2d, PADResNetConfig, PADResNetForImageClassification
from padnet_hf.method.layer import pad_layers, pad_weights

RATIO = 0.3
STEM = 64 * 3 * 7 * 7
STEM_WORK, HEAD_WORK = STEM * 112 * 112, 2048 * 1000


def on_meta(**fields: object) -> PADResNetForImageClassification:
    with torch.device("meta"):
        return PADResNetForImageClassification(PADResNetConfig(num_labels=1000, **fields))


def partitioned_on_meta(granularity: str) -> PADResNetForImageClassification:
    weights = pad_weights(on_meta()).items()
    counts = {
        name.removeprefix("resnet."): round(RATIO * weight.num_candidates(granularity)) for name, weight in weights
    }
    return on_meta(dynamic_counts=counts, partition={"granularity": granularity})


def test_resnet_50_dense_and_fully_dynamic() -> None:
    report = on_meta().partition_report()
    assert report.dense.parameters == 25_557_032  # ResNetForImageClassification, microsoft/resnet-50
    assert report.fully_dynamic == report.current
    assert report.fully_dynamic.parameters == pytest.approx(97.1e6, rel=2e-3)  # upstream's count
    assert len(report.layers) == 52


@pytest.mark.parametrize("granularity", ["element", "unit"])
def test_resnet_50_at_0_3_has_half_the_parameters(granularity: str) -> None:
    report = partitioned_on_meta(granularity).partition_report()
    assert report.dynamic_ratio == pytest.approx(RATIO, abs=2e-3)
    convolutions = report.dense.parameters - STEM - (2048 * 1000 + 1000) - 2 * 26_560  # less the head and batch norms
    attention = report.fully_dynamic.parameters - report.dense.parameters - 3 * convolutions
    scale_factors = 52
    assert report.current.parameters == pytest.approx(
        report.dense.parameters + 3 * report.dynamic_ratio * convolutions + attention + scale_factors, abs=1
    )
    assert report.current.parameters == pytest.approx(48e6, rel=0.02)


def test_the_dense_multiply_adds_are_those_known_of_resnet_50_less_stem_and_head() -> None:
    report = on_meta().partition_report()
    assert report.work_per == "image"
    assert report.dense.multiply_adds == 4_089_184_256 - STEM_WORK - HEAD_WORK


@pytest.mark.parametrize("granularity", ["element", "unit"])
def test_mixing_kernels_counts_by_their_dynamic_elements(granularity: str) -> None:
    report = partitioned_on_meta(granularity).partition_report()
    convolutions = sum(layer.dense.parameters for layer in report.layers)
    assert report.fully_dynamic.multiply_adds == report.dense.multiply_adds + 4 * convolutions
    mixed = report.current.multiply_adds - report.dense.multiply_adds
    assert mixed == pytest.approx(4 * report.dynamic_ratio * convolutions, abs=1)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"layer_type": "basic"},
        {"downsample_in_first_stage": True},
        {"downsample_in_bottleneck": True},
        {"stem_kernel_size": 3, "stem_stride": 1, "stem_pool": False},
        {"stem_kernel_size": 5, "stem_stride": 3, "dynamic_layers": ["*"]},
        {"dynamic_layers": ["encoder.stages.1.*"]},
    ],
    ids=str,
)
@pytest.mark.parametrize("image_size", [32, 37, 50])
def test_multiply_adds_are_counted_for_the_positions_that_a_convolution_has(
    fields: dict[str, object], image_size: int
) -> None:
    sizes = {"embedding_size": 8, "hidden_sizes": [16, 32, 48], "depths": [2, 1, 2], "image_size": image_size}
    model = PADResNetForImageClassification(PADResNetConfig(**sizes, **fields)).eval()
    positions: dict[PADDynamicConv2d, int] = {}
    for layer in pad_layers(model).values():
        layer.register_forward_hook(lambda conv, _, outputs: positions.update({conv: outputs[0, 0].numel()}))
    model(torch.zeros(1, 3, image_size, image_size))
    assert len(positions) == len(pad_layers(model)) > 0
    counted = model.count_work()
    for name, layer in pad_layers(model).items():
        assert counted[name].dense == positions[layer] * layer.weight.shape.numel(), name


def test_a_stage_of_resnet_18_by_hand() -> None:
    sizes = {"layer_type": "basic", "embedding_size": 64, "hidden_sizes": [64], "depths": [2]}
    with torch.device("meta"):
        report = PADResNetForImageClassification(PADResNetConfig(**sizes, num_labels=10)).partition_report()
    kernel = 64 * 64 * 9  # four convolutions on 56 x 56, each with attention 64 -> 4 -> 4
    assert report.dense.multiply_adds == 4 * kernel * 56 * 56
    attention = 64 * 4 + 4 * 4 + 4
    assert report.fully_dynamic.parameters == STEM + 4 * (4 * kernel + attention) + 5 * 2 * 64 + 64 * 10 + 10
