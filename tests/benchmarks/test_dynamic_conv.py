import pytest
import torch
from torch import nn
from transformers import PreTrainedConfig

from benchmarks.convolutions import (
    ELEMENT,
    MOBILENET,
    OURS,
    RESNET_50,
    SMALL,
    UNIT,
    UPSTREAM,
    CondConv,
    UpstreamConv,
    build,
    layer_cases,
    replace_dynamic,
)


@pytest.mark.parametrize("way", [UpstreamConv, CondConv])
def test_other_ways_of_mixing_give_our_logits(way: type[UpstreamConv]) -> None:
    images = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    model = build(OURS, SMALL).eval()
    with torch.no_grad():
        ours = model(images).logits
        replace_dynamic(model, way)
        assert torch.allclose(model(images).logits, ours, atol=1e-5)
    assert sum(isinstance(module, way) for module in model.modules()) > 5


def test_the_partitions_compared_have_three_tenths_of_the_elements_dynamic() -> None:
    for variant in (ELEMENT, UNIT):
        assert build(variant, SMALL).partition_report().dynamic_ratio == pytest.approx(0.3, abs=0.03)


# Of ResNet-50 all but the stem; of MobileNetV2 what is 1x1, but not the stem's.
@pytest.mark.parametrize(("config", "layers", "shapes"), [(RESNET_50, 52, 22), (MOBILENET, 33, 18)])
def test_every_shape_of_a_network_is_timed_once(config: PreTrainedConfig, layers: int, shapes: int) -> None:
    cases = list(layer_cases(config))
    assert sum(case.count for case in cases) == layers
    assert len(cases) == len({case.shape for case in cases}) == shapes


def test_another_familys_network_gives_the_same_logits_in_every_exact_way() -> None:
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))

    def settled(variant: str) -> nn.Module:
        """With normalisation that fits these images: without, the logits of a random network are next to zero."""
        model = build(variant, MOBILENET).train()
        for norm in (module for module in model.modules() if isinstance(module, nn.BatchNorm2d)):
            norm.momentum = 1.0
        model(images)
        return model.eval()

    with torch.no_grad():
        ours, upstream, unit = (settled(variant) for variant in (OURS, UPSTREAM, UNIT))
        expected, partitioned = ours(images).logits, unit(images).logits
        tolerance = 1e-4 * expected.abs().max().item()
        assert tolerance > 1e-6
        torch.testing.assert_close(upstream(images).logits, expected, atol=tolerance, rtol=0)
        torch.testing.assert_close(unit.fuse()(images).logits, partitioned, atol=10 * tolerance, rtol=0)
        assert not torch.allclose(partitioned, expected, atol=100 * tolerance)
