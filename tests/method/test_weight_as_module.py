"""What torch does to any module, done to a PADWeight in every form."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from padnet_hf.errors import PADNetError
from padnet_hf.method.conversion import partitioned_state
from padnet_hf.method.weight import PADWeight

_FORMS = ["fully dynamic", "element", "unit", "static"]


def _weight(form: str, seed: int = 0, shape: tuple[int, ...] = (6, 4, 3, 3)) -> PADWeight:
    weight = PADWeight(3, shape, unit_dim=0)
    generator = torch.Generator().manual_seed(seed)
    weight.become({"dynamic": torch.randn(3, *shape, generator=generator)})
    if form == "fully dynamic":
        return weight
    granularity = "unit" if form == "unit" else "element"
    mask = torch.rand(weight.num_candidates(granularity), generator=generator) < 0.5
    weight.become(partitioned_state(weight, mask & (form != "static"), granularity), granularity)
    if weight.phi is not None:
        torch.nn.init.constant_(weight.phi, 0.3)
    return weight


@pytest.fixture(params=_FORMS)
def weight(request: pytest.FixtureRequest) -> PADWeight:
    return _weight(request.param)


@pytest.mark.parametrize("found", _FORMS)
@pytest.mark.parametrize("assign", [False, True])
def test_a_state_dict_loads_into_every_form(weight: PADWeight, found: str, assign: bool) -> None:
    other = _weight(found, seed=1)
    other.positions()
    other.load_state_dict(weight.state_dict(), assign=assign)
    assert torch.equal(other.build(), weight.build())
    assert other.state().keys() == weight.state().keys()
    assert all(parameter.requires_grad for parameter in other.parameters())


def test_parameters_stay_the_same_objects_when_the_form_stays(weight: PADWeight) -> None:
    other = copy.deepcopy(weight)
    before = dict(other.named_parameters())
    other.load_state_dict(weight.state_dict())
    assert all(parameter is before[name] for name, parameter in other.named_parameters())


def test_a_frozen_weight_stays_frozen_when_it_takes_another_form() -> None:
    frozen = _weight("fully dynamic").requires_grad_(False)
    frozen.load_state_dict(_weight("element").state_dict())
    assert not any(parameter.requires_grad for parameter in frozen.parameters())


@pytest.mark.parametrize(
    "change",
    [
        lambda state: {},
        lambda state: {"dynamic": state["dynamic"]},
        lambda state: state | {"static": state["static"][1:]},
        lambda state: state | {"more": state["static"]},
    ],
)
def test_tensors_of_no_form_are_refused_as_torch_does(change: Callable[[dict[str, Tensor]], dict[str, Tensor]]) -> None:
    weight = _weight("element")
    before = weight.build()
    with pytest.raises(RuntimeError, match="Error"):
        weight.load_state_dict(change(weight.state_dict()))
    assert torch.equal(weight.build(), before)


def test_training_follows_evaluation_in_inference_mode(weight: PADWeight) -> None:
    twin = copy.deepcopy(weight)
    with torch.inference_mode():
        weight.build()
    for one in (weight, twin):
        one.build().square().sum().backward()
    assert all(
        torch.equal(one.grad, other.grad) for one, other in zip(weight.parameters(), twin.parameters(), strict=True)
    )


@pytest.mark.parametrize("decay", [0.9, 0.99, 0.9998, 0.9999])
def test_masks_outlive_averages_written_through_the_state_dict(weight: PADWeight, decay: float) -> None:
    average = copy.deepcopy(weight)
    for _ in range(3):  # timm's ModelEmaV2
        with torch.no_grad():
            for old, new in zip(average.state_dict().values(), weight.state_dict().values(), strict=True):
                old.copy_(decay * old + (1 - decay) * new)
    assert torch.equal(average.mask(), weight.mask())
    torch.testing.assert_close(average.build(), weight.build())


def test_masks_outlive_torch_averages(weight: PADWeight) -> None:
    average = AveragedModel(weight, multi_avg_fn=get_ema_multi_avg_fn(0.9999))
    for _ in range(3):
        average.update_parameters(weight)
    assert torch.equal(average.module.mask(), weight.mask())
    torch.testing.assert_close(average.module.build(), weight.build())


@pytest.mark.parametrize("form", ["element", "unit"])
def test_a_mask_that_was_written_to_is_refused_where_it_would_be_used(form: str) -> None:
    weight = _weight(form)
    weight.build()
    weight.mask_bits[0] ^= 1
    with pytest.raises(PADNetError, match=r"set bits, but .* are dynamic: something has written to it.*use_buffers"):
        weight.build()


@pytest.mark.parametrize("shape", [(6, 4, 3, 3), (6, 4)])
@pytest.mark.parametrize(
    "change",
    [
        lambda module: module.to(memory_format=torch.channels_last),
        lambda module: module.to(memory_format=torch.channels_last).to(memory_format=torch.contiguous_format),
        lambda module: module.double().float(),
        lambda module: module.to("cpu", torch.float32, non_blocking=True, memory_format=torch.channels_last),
        lambda module: module.share_memory(),
    ],
)
@pytest.mark.parametrize("form", _FORMS)
def test_formats_and_devices_change_no_value(
    form: str, change: Callable[[torch.nn.Module], torch.nn.Module], shape: tuple[int, ...]
) -> None:
    weight = _weight(form, shape=shape)
    changed = change(copy.deepcopy(weight))
    assert torch.equal(changed.build(), weight.build())
    assert all(tensor.is_contiguous() for tensor in changed.state().values())


def test_it_goes_to_the_meta_device_and_comes_back_empty(weight: PADWeight) -> None:
    shapes = {name: tensor.shape for name, tensor in weight.state().items()}
    back = weight.to("meta").to_empty(device="cpu")
    assert {name: tensor.shape for name, tensor in back.state().items()} == shapes
