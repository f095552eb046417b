import pytest
import torch
from torch import Tensor

from padnet_hf.method.conversion import Undo, undone_on_error
from padnet_hf.method.layout import Granularity
from padnet_hf.method.static_values import first_of
from padnet_hf.method.weight import PADWeight

MASKS = {"all": [True] * 6, "none": [False] * 6, "some": [False, True, True, False, True, False]}


def _weight(equal_copies: bool, *, ordered: bool = True) -> PADWeight:
    weight = PADWeight(3, (6, 2), unit_dim=0, ordered=ordered)
    values = torch.randn(3, 6, 2, generator=torch.Generator().manual_seed(0))
    weight.become({"dynamic": values[:1].expand(3, -1, -1).clone() if equal_copies else values})
    return weight


def _mask(name: str, granularity: Granularity) -> Tensor:
    mask = torch.tensor(MASKS[name])
    return mask if granularity == "unit" else mask.repeat_interleave(2)


def _convert_and_interrupt(
    weights: list[PADWeight], mask: Tensor, granularity: Granularity, undo: Undo = "memory"
) -> None:
    with undone_on_error(undo=undo) as convert:
        for weight in weights:
            convert(weight, mask, granularity)
        assert [weight.is_static for weight in weights] == [not mask.any()] * len(weights)
        raise KeyboardInterrupt


@pytest.mark.parametrize("undo", ["memory", "file"])
@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("granularity", ["element", "unit"])
@pytest.mark.parametrize("equal_copies", [True, False])
@pytest.mark.parametrize("ordered", [True, False])
def test_an_error_gives_back_the_very_parameters(
    ordered: bool, equal_copies: bool, granularity: Granularity, mask: str, undo: Undo
) -> None:
    weights = [_weight(equal_copies, ordered=ordered) for _ in range(2)]
    parameters = [weight.dynamic for weight in weights]
    values = [parameter.detach().clone() for parameter in parameters]
    with pytest.raises(KeyboardInterrupt):
        _convert_and_interrupt(weights, _mask(mask, granularity), granularity, undo)
    for weight, parameter, expected in zip(weights, parameters, values, strict=True):
        assert weight.dynamic is parameter
        assert weight.is_fully_dynamic
        assert torch.equal(parameter, expected)
        assert weight.granularity == "element"


def test_what_is_not_kept_is_lost_and_the_error_says_so() -> None:
    equal = [_weight(True) for _ in range(2)]
    with pytest.raises(KeyboardInterrupt) as caught:
        _convert_and_interrupt(equal, _mask("some", "element"), "element", "none")
    assert not hasattr(caught.value, "__notes__")  # equal copies are put together again
    assert all(weight.is_fully_dynamic for weight in equal)
    with pytest.raises(KeyboardInterrupt) as caught:
        _convert_and_interrupt([_weight(False)], _mask("some", "element"), "element", "none")
    assert caught.value.__notes__ == ["The model is half partitioned now, as undo is 'none': load it again."]


@pytest.mark.parametrize("undo", ["file", "none"])
def test_copies_that_differ_are_let_go_too_unless_memory_keeps_them(undo: Undo) -> None:
    weights = [_weight(False) for _ in range(2)]
    originals = [weight.dynamic for weight in weights]
    with undone_on_error(undo=undo) as convert:
        for number, weight in enumerate(weights):
            convert(weight, _mask("some", "element"), "element")
            assert [original.numel() for original in originals[: number + 1]] == [0] * (number + 1)


@pytest.mark.parametrize("granularity", ["element", "unit"])
def test_copies_that_are_equal_are_let_go_as_soon_as_they_are_compact(granularity: Granularity) -> None:
    equal, different = _weight(True), _weight(False)
    originals = [equal.dynamic, different.dynamic]
    with undone_on_error() as convert:
        for weight in (equal, different):
            convert(weight, _mask("some", granularity), granularity)
        assert [original.numel() for original in originals] == [0, 36]
    assert equal.num_dynamic_elements == different.num_dynamic_elements == 6


@pytest.mark.parametrize("granularity", ["element", "unit"])
@pytest.mark.parametrize("mask", ["none", "some"])
def test_fresh_static_values_are_those_of_one_copy_and_in_memory_of_their_own(
    granularity: Granularity, mask: str
) -> None:
    weight, chosen = _weight(False), _mask(mask, granularity)
    copies = weight.dynamic.detach().clone()
    with undone_on_error(first_of) as convert:
        convert(weight, chosen, granularity)
    static = ~(chosen if granularity == "element" else chosen.repeat_interleave(2))
    assert torch.equal(weight.static.flatten(), copies[0].flatten()[static])
    assert weight.static.untyped_storage().nbytes() == weight.static.numel() * 4
