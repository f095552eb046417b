import pytest
import torch

from benchmarks.convolutions import (
    ELEMENT,
    OURS,
    RESNET_50,
    SMALL,
    UNIT,
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


def test_every_shape_of_resnet_50_is_timed_once() -> None:
    cases = list(layer_cases(RESNET_50))
    assert sum(case.count for case in cases) == 52  # all but the stem
    assert len(cases) == len({case.shape for case in cases}) == 22
