from fractions import Fraction

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from torch import Tensor

from padnet_hf.method.selection import UNIT_BLOCK, select_elements, select_units, top_k

_DENORMAL = 1e-45
_SCORES = st.one_of(
    st.sampled_from([0.0, -0.0, _DENORMAL, 2 * _DENORMAL, 1.0, 1.0000001, 3e38, float("inf")]),
    st.floats(min_value=0, width=32, allow_nan=False),
)
_LAYERS = st.lists(st.lists(_SCORES, max_size=12), min_size=1, max_size=4)


def _sorted_top_k(layers: list[list[float]], count: int) -> list[list[bool]]:
    """The definition: sort everything by (-score, position), and take the first `count`."""
    keys = [(-score, layer, i) for layer, scores in enumerate(layers) for i, score in enumerate(scores)]
    kept = {key[1:] for key in sorted(keys)[:count]}
    return [[(layer, i) in kept for i in range(len(scores))] for layer, scores in enumerate(layers)]


def _tensors(layers: list[list[float]]) -> list[Tensor]:
    return [torch.tensor(scores, dtype=torch.float32) for scores in layers]


@given(_LAYERS, st.floats(0, 1))
@example([[0.0] * 9 + [1.0]], 0.5)
@example([[], [5.0], []], 1.0)
@example([[float("inf"), 1.0], [float("inf")]], 0.5)
def test_top_k_equals_sorting_by_score_then_position(layers: list[list[float]], share: float) -> None:
    count = round(share * sum(map(len, layers)))
    # tensors hold what a float32 holds, so the oracle sorts that
    rounded = [tensor.tolist() for tensor in _tensors(layers)]
    assert [mask.tolist() for mask in top_k(_tensors(layers), count)] == _sorted_top_k(rounded, count)


def test_top_k_is_exact_where_scores_differ_in_the_last_bit() -> None:
    scores = torch.tensor([1.0]).view(torch.int32) + torch.arange(1000, dtype=torch.int32)
    order = torch.randperm(1000, generator=torch.Generator().manual_seed(0))
    (mask,) = top_k([scores.view(torch.float32)[order]], 137)
    assert torch.equal(mask, order >= 1000 - 137)


def test_top_k_leaves_its_input_alone() -> None:
    scores = [torch.tensor([3.0, 1.0, 2.0])]
    top_k(scores, 1)
    assert scores[0].tolist() == [3.0, 1.0, 2.0]


@pytest.mark.parametrize("share", [0.0, 0.05, 0.3, 0.5, 0.95, 1.0])
@pytest.mark.parametrize("scope", ["global", "layer"])
def test_element_counts_are_exact_when_nine_in_ten_scores_are_zero(share: float, scope: str) -> None:
    generator = torch.Generator().manual_seed(1)
    scores = [torch.rand(n, generator=generator) * (torch.rand(n, generator=generator) < 0.1) for n in (1001, 333, 7)]
    masks = select_elements(scores, share, scope, [1001, 333, 7])
    if scope == "layer":
        assert [int(mask.sum()) for mask in masks] == [round(share * n) for n in (1001, 333, 7)]
    else:
        assert sum(int(mask.sum()) for mask in masks) == round(share * 1341)


def test_global_scope_has_one_threshold_and_layer_scope_one_each() -> None:
    scores = [torch.tensor([10.0, 9.0, 8.0, 7.0]), torch.tensor([4.0, 3.0, 2.0, 1.0])]
    assert [mask.tolist() for mask in select_elements(scores, 0.5, "global", [4, 4])] == [[True] * 4, [False] * 4]
    assert [mask.tolist() for mask in select_elements(scores, 0.5, "layer", [4, 4])] == [[True, True, False, False]] * 2


def test_a_share_of_elements_counts_those_out_of_the_running_too() -> None:
    scores = [torch.tensor([5.0, 4.0, 3.0]), torch.tensor([2.0, 1.0])]
    masks = select_elements(scores, 0.5, "global", [4, 4])
    assert [mask.tolist() for mask in masks] == [[True] * 3, [True, False]]
    masks = select_elements(scores, 0.25, "layer", [4, 4])
    assert [mask.tolist() for mask in masks] == [[True, False, False], [True, False]]


_UNIT_LAYERS = st.lists(
    st.tuples(
        st.integers(1, 40).flatmap(lambda n: st.lists(st.integers(0, 6).map(float), min_size=n, max_size=n)),
        st.integers(1, 50),  # elements of a unit
    ),
    min_size=1,
    max_size=4,
)
_UnitLayers = list[tuple[list[float], int]]


def _select_units(layers: _UnitLayers, share: float, scope: str) -> list[Tensor]:
    return select_units(_tensors([scores for scores, _ in layers]), share, scope, [size for _, size in layers])


def _blocks(scores: list[float], size: int) -> list[tuple[Fraction, int]]:
    """Score per element and elements of every block of a layer, best first."""
    ranked = sorted(scores, reverse=True)
    parts = [ranked[start : start + UNIT_BLOCK] for start in range(0, len(ranked), UNIT_BLOCK)]
    return [(Fraction(sum(part)) / (len(part) * size), len(part) * size) for part in parts]


@given(_UNIT_LAYERS, st.floats(0, 1), st.sampled_from(["global", "layer"]))
def test_unit_counts_are_whole_blocks_and_none_is_empty(layers: _UnitLayers, share: float, scope: str) -> None:
    for mask, (scores, _) in zip(_select_units(layers, share, scope), layers, strict=True):
        count = int(mask.sum())
        assert count % UNIT_BLOCK == 0 or count == len(scores)
        assert (count > 0) == (share > 0)


@given(_UNIT_LAYERS, st.floats(0, 1), st.sampled_from(["global", "layer"]))
def test_within_a_layer_the_best_units_are_kept(layers: _UnitLayers, share: float, scope: str) -> None:
    for (scores, _), mask in zip(layers, _select_units(layers, share, scope), strict=True):
        assert mask.tolist() == _sorted_top_k([scores], int(mask.sum()))[0]


@given(_UNIT_LAYERS, st.floats(0.01, 1))
def test_across_layers_blocks_are_kept_by_score_per_element_up_to_the_share(layers: _UnitLayers, share: float) -> None:
    blocks = [
        (number > 0, -value, layer, number, size)  # the best block of a layer always stays
        for layer, (scores, unit) in enumerate(layers)
        for number, (value, size) in enumerate(_blocks(scores, unit))
    ]
    blocks.sort()
    held = [sum(block[-1] for block in blocks[:count]) for count in range(len(blocks) + 1)]
    count = min(range(len(held)), key=lambda n: abs(held[n] - share * held[-1]))
    kept = [block[2] for block in blocks[: max(count, len(layers))]]
    masks = _select_units(layers, share, "global")
    assert [-(-int(mask.sum()) // UNIT_BLOCK) for mask in masks] == [kept.count(layer) for layer in range(len(layers))]


def test_a_share_of_units_is_a_share_of_their_elements() -> None:
    generator = torch.Generator().manual_seed(0)
    sizes = [16, 256, 4096]
    scores = [torch.rand(64, size, generator=generator).sum(dim=1) for size in sizes]  # larger units, larger sums
    masks = select_units(scores, 0.3, "global", sizes)
    kept = sum(int(mask.sum()) * size for mask, size in zip(masks, sizes, strict=True))
    assert abs(kept / sum(64 * size for size in sizes) - 0.3) < UNIT_BLOCK / 64 / 2


@given(_UNIT_LAYERS, st.floats(0, 1), st.floats(0, 1), st.sampled_from(["global", "layer"]))
def test_a_larger_share_keeps_all_that_a_smaller_one_keeps(
    layers: _UnitLayers, one: float, other: float, scope: str
) -> None:
    elements = _tensors([scores for scores, _ in layers])
    for select in (
        lambda share: select_elements(elements, share, scope, [len(scores) for scores in elements]),
        lambda share: _select_units(layers, share, scope),
    ):
        for few, many in zip(select(min(one, other)), select(max(one, other)), strict=True):
            assert not (few & ~many).any()


def test_units_out_of_the_running_stay_out() -> None:
    scores = [
        torch.cat([torch.full((8,), -1.0), torch.arange(16.0)]),
        torch.cat([torch.ones(8), torch.full((8,), -1.0)]),
    ]
    masks = select_units(scores, 3 / 5, "global", [4, 4])
    assert [mask.tolist() for mask in masks] == [[False] * 8 + [True] * 16, [True] * 8 + [False] * 8]
