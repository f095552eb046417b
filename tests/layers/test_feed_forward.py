from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch

from padnet_hf.layers.feed_forward import PADFeedForward
from padnet_hf.layers.routing_log import is_logging, logged
from padnet_hf.method.config import PartitionConfig
from padnet_hf.method.imp import partition
from padnet_hf.method.layer import MaskGroup, MultiplyAdds, mask_groups, pad_weights
from tests.layers.reference import reference_experts
from tests.method.toy import toy_layer

HIDDEN, INNER, DENSE = 4, 24, 2 * 4 * 24


def _layer(partition_fields: dict[str, Any] | None = None, **options: Any) -> PADFeedForward:
    """In evaluation mode, with random parameters, partitioned as asked."""
    layer = toy_layer(**options).double().eval()
    generator = torch.Generator().manual_seed(0)
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter, generator=generator)
    if partition_fields:
        partition(layer, None, PartitionConfig(criterion="random", **partition_fields), progress=False)
    return layer


@pytest.mark.parametrize("chosen", [1, 2, 3])
@pytest.mark.parametrize(
    ("fields", "current"),
    [
        (None, lambda chosen: chosen * DENSE),
        ({"dynamic_ratio": 0.3}, lambda chosen: chosen * DENSE),
        ({"dynamic_ratio": 0}, lambda chosen: DENSE),
        ({"dynamic_ratio": 0, "granularity": "unit"}, lambda chosen: DENSE),
        ({"dynamic_ratio": 1, "granularity": "unit"}, lambda chosen: chosen * DENSE),
        # 8 of 24 neurons dynamic: DESIGN's (1 - kappa + K * kappa) times dense
        ({"dynamic_ratio": 1 / 3, "granularity": "unit"}, lambda chosen: DENSE * (2 + chosen) // 3),
        ({"dynamic_ratio": 2 / 3, "granularity": "unit"}, lambda chosen: DENSE * (1 + 2 * chosen) // 3),
    ],
    ids=["fully dynamic", "element", "static", "static units", "all units", "8 units", "16 units"],
)
def test_multiply_adds_are_those_of_every_matrix_product(fields: Any, current: Any, chosen: int) -> None:
    layer = _layer(fields, top_k=chosen)
    inputs = torch.empty(2, 3, HIDDEN)
    assert layer.multiply_adds(inputs) == MultiplyAdds(DENSE, chosen * DENSE, current(chosen))
    assert layer.outline(inputs).shape == layer(inputs.double()).shape


@pytest.mark.parametrize(("ratio", "current"), [(None, 2 * 3 * 96), (1 / 3, 3 * 96 * (2 + 2) // 3), (0, 3 * 96)])
def test_multiply_adds_of_gated_experts_count_the_gates_too(ratio: float | None, current: int) -> None:
    fields = None if ratio is None else {"dynamic_ratio": ratio, "granularity": "unit"}
    layer = _layer(fields, gated=True, bias=False)
    assert layer.multiply_adds(torch.empty(1, HIDDEN)) == MultiplyAdds(3 * 96, 2 * 3 * 96, current)
    assert mask_groups(layer, "unit") == [MaskGroup((layer.experts.gate_up_proj, layer.experts.down_proj), ())]


def test_units_are_hidden_neurons_and_the_output_bias_follows() -> None:
    layer = _layer()
    experts = layer.experts
    group = MaskGroup((experts.up_proj, experts.up_proj_bias, experts.down_proj), (experts.down_proj_bias,))
    assert layer.unit_group() == group
    assert mask_groups(layer, "unit") == [group]
    assert [weight.num_candidates("unit") for weight in group.weights] == [INNER] * 3
    assert group.followers[0].num_candidates("unit") == 1
    assert mask_groups(layer, "element") == [MaskGroup((weight,)) for weight in pad_weights(layer).values()]


def test_the_output_bias_is_dynamic_as_long_as_any_neuron_is() -> None:
    for ratio in (0, 1 / 3, 1):
        bias = _layer({"dynamic_ratio": ratio, "granularity": "unit"}).experts.down_proj_bias
        assert bias.is_fully_dynamic == (ratio > 0)
        assert bias.is_static == (ratio == 0)


@pytest.mark.parametrize("fields", [None, {"dynamic_ratio": 0.5}, {"dynamic_ratio": 1 / 3, "granularity": "unit"}])
def test_output_is_the_formula_over_the_routers_choice_in_any_shape(fields: dict[str, Any] | None) -> None:
    layer = _layer(fields)
    hidden = torch.randn(2, 3, HIDDEN, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    _, gates, index, *_ = layer.router(hidden.view(-1, HIDDEN))
    expected = reference_experts(layer.experts, hidden.view(-1, HIDDEN), index, gates.double())
    # gates are float32 and sum to one as float32 can: the static part is counted once, not by their sum
    torch.testing.assert_close(layer(hidden), expected.view(2, 3, HIDDEN), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(layer(hidden.view(6, HIDDEN)), expected, rtol=1e-6, atol=1e-6)


def test_routers_tell_the_log_that_is_open_and_only_that() -> None:
    layer = _layer()
    hidden = torch.randn(2, 3, HIDDEN, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    layer(hidden)
    output, log = logged(lambda: layer(layer(hidden)))
    assert [routing.logits.shape for routing in log] == [(6, 3), (6, 3)]
    assert torch.equal(output, layer(layer(hidden)))
    assert not is_logging()


def test_a_log_is_closed_after_an_error() -> None:
    layer = _layer()
    with pytest.raises(RuntimeError):
        logged(lambda: layer(torch.zeros(2, HIDDEN + 1, dtype=torch.float64)))
    assert not is_logging()


def test_threads_have_logs_of_their_own() -> None:
    layer = _layer()

    def routed(count: int) -> int:
        def several() -> None:
            for _ in range(count):
                layer(torch.zeros(1, HIDDEN, dtype=torch.float64))

        return len(logged(several)[1])

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(routed, range(40))) == list(range(40))
