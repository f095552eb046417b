import copy

import pytest
import torch
from torch import Tensor

from padnet_hf.errors import PADNetError
from padnet_hf.layers.router import Routing
from padnet_hf.method.config import PartitionConfig
from padnet_hf.method.imp import partition
from padnet_hf.method.layer import pad_layers, pad_weights
from padnet_hf.method.packing import weighted_mean
from padnet_hf.method.scoring import no_trace
from padnet_hf.method.static_values import weighted
from tests.method.reference_imp import reference_static_values
from tests.method.toy import ToyModel, toy_batches


def static_values(model: ToyModel, name: str, batches: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    weights = pad_weights(model)
    with no_trace(model, [weight.dynamic for weight in weights.values()]):
        value = weighted(name, model, batches)
    return {name: value(weight) for name, weight in weights.items()}


def test_a_unit_of_a_copy_counts_for_its_squared_gradients() -> None:
    model, batches = ToyModel(), toy_batches(3)
    expected = reference_static_values(model, batches)
    for name, value in static_values(model, "fisher", batches).items():
        torch.testing.assert_close(value, expected[name], rtol=1e-5, atol=1e-6)
        assert not torch.allclose(value, pad_weights(model)[name].dynamic.mean(dim=0), atol=1e-3)


def test_a_copy_counts_for_what_it_was_mixed_with() -> None:
    model, batches = ToyModel(), toy_batches(3)
    gates: dict[str, Tensor] = {name: torch.zeros(3) for name in pad_layers(model)}

    def count(name: str, routing: Routing) -> None:
        gates[name].index_add_(0, routing.index.flatten(), routing.weights.detach().flatten())

    for name, layer in pad_layers(model).items():
        layer.router.register_forward_hook(lambda _, __, routing, name=name: count(name, routing))
    found = static_values(model, "usage", batches)
    with torch.no_grad():
        for total in gates.values():
            total.zero_()
        for batch in batches:
            model.eval()(**batch)
    for name, value in found.items():
        used = gates[name.rpartition(".experts")[0]]
        copies = pad_weights(model)[name].dynamic.detach()
        expected = sum(copies[e] * (used[e] / used.sum()) for e in range(3))
        torch.testing.assert_close(value, expected, rtol=1e-5, atol=1e-6)
    assert all(layer.usage is None for layer in pad_layers(model).values())


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_equal_copies_keep_their_exact_value_whatever_they_count_for(dtype: torch.dtype) -> None:
    copies = torch.randn(1, 5, 4, generator=torch.Generator().manual_seed(0)).to(dtype).repeat(3, 1, 1)
    shares = torch.rand(3, 5, 1).softmax(dim=0)
    assert torch.equal(weighted_mean(copies, shares), copies[0])


def test_copies_without_gradients_all_count_the_same() -> None:
    model = ToyModel()
    with torch.no_grad():
        model.head.weight.zero_()
    for name, value in static_values(model, "fisher", toy_batches(2)).items():
        torch.testing.assert_close(value, pad_weights(model)[name].dynamic.mean(dim=0), rtol=1e-6, atol=1e-7)


def test_what_is_not_said_is_decided_by_whether_copies_differ() -> None:
    nothing, equal = PartitionConfig(), ToyModel()
    for weight in pad_weights(equal).values():
        with torch.no_grad():
            weight.dynamic.copy_(weight.dynamic[:1].expand_as(weight.dynamic).clone())
    for model, expected in ((ToyModel(), ("fisher", "fisher")), (equal, ("snip", "mean"))):
        record = partition(model, toy_batches(2), nothing, progress=False).record
        assert (record["criterion"], record["static_values"]) == expected
    record = partition(ToyModel(), None, PartitionConfig(criterion="random"), progress=False).record
    assert record["static_values"] == "mean"  # no batches are looked at
    record = partition(ToyModel(), None, PartitionConfig(dynamic_ratio=0), progress=False).record
    assert record["static_values"] == "mean"


@pytest.mark.parametrize("name", ["fisher", "usage"])
def test_weights_of_copies_need_batches_whatever_the_criterion_needs(name: str) -> None:
    model = ToyModel()
    before = copy.deepcopy(model.state_dict())
    for ratio in (0, 0.5):
        with pytest.raises(PADNetError, match=f"static values '{name}' needs at least 1"):
            partition(model, None, PartitionConfig(ratio, criterion="random", static_values=name), progress=False)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    result = partition(
        model, toy_batches(2), PartitionConfig(0, criterion="random", static_values=name), progress=False
    )
    assert result.dynamic_ratio == 0
