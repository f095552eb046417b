"""The feed-forward layers that benchmarks/experts.py compares."""

from dataclasses import dataclass, replace

from torch import nn

from benchmarks.layers import (
    Dense,
    LayerSizes,
    partition_at_random,
    randomize,
    use_transformers_code,
)
from padnet_hf.layers.experts import BY_DEVICE
from padnet_hf.method.layer import pad_weights
from padnet_hf.method.layout import Granularity


@dataclass(frozen=True)
class Variant:
    """A layer to measure: by transformers' own code or ours, run so, partitioned so, or the bare products (floor)."""

    kind: str = "ours"
    implementation: str = BY_DEVICE
    granularity: Granularity | None = None
    ratio: float = 1.0
    cached: bool = False


BASELINE, OURS, DENSE = "transformers grouped_mm", "ours, fully dynamic", "dense"
CACHED = "element 0.5, cached"
FLOOR, UNIT_FLOOR = "floor of fully dynamic", "floor of unit 0.5"
VARIANTS = {
    DENSE: Variant("dense"),
    BASELINE: Variant("transformers", "grouped_mm"),
    "transformers eager": Variant("transformers", "eager"),
    OURS: Variant(),
    **{f"unit {ratio}": Variant(granularity="unit", ratio=ratio) for ratio in (0.3, 0.5, 0.7)},
    **{f"unit {ratio}, grouped_mm": Variant("ours", "grouped_mm", "unit", ratio) for ratio in (0.3, 0.5, 0.7)},
    **{f"element {ratio}": Variant(granularity="element", ratio=ratio) for ratio in (0.3, 0.5, 0.7)},
    CACHED: Variant(granularity="element", ratio=0.5, cached=True),
    FLOOR: Variant("floor"),
    UNIT_FLOOR: Variant("floor", ratio=0.5),
}
UNIT_5, UNIT_3 = (f"unit {ratio}" for ratio in (0.5, 0.3))


def build(variant: Variant, sizes: LayerSizes) -> nn.Module:
    """A layer with random weights."""
    if variant.kind == "dense":
        return Dense(sizes)
    layer = replace(sizes, implementation=variant.implementation).experts()
    if variant.kind == "transformers":
        use_transformers_code(layer)
    randomize(layer)
    if variant.granularity:
        partition_at_random(layer, variant.granularity, variant.ratio)
    for weight in pad_weights(layer).values():
        weight.keep_built(variant.cached)
    return layer


def build_stack(variant: Variant, layers: int, sizes: LayerSizes) -> nn.Sequential:
    """Feed-forward layers with their routers, partitioned from the start."""
    sizes = replace(sizes, implementation=variant.implementation)
    stack = nn.Sequential(*(sizes.layer() for _ in range(layers)))
    if variant.kind == "transformers":
        use_transformers_code(stack)
    for layer in stack:
        if variant.granularity:
            partition_at_random(layer.experts, variant.granularity, variant.ratio)
    randomize(stack)
    return stack
