from typing import Any

import pytest
import torch

from padnet_hf.layers.feed_forward import PADFeedForward
from padnet_hf.method.config import PartitionConfig
from padnet_hf.method.imp import partition
from padnet_hf.method.layer import MaskGroup, MultiplyAdds, mask_groups, pad_weights
from tests.layers.reference import reference_experts
from tests.method.toy import LayerConfig

HIDDEN, INNER, DENSE = 4, 24, 2 * 4 * 24


def _layer(partition_fields: dict[str, Any] | None = None, **config: Any) -> PADFeedForward:
    """In evaluation mode, with random parameters, partitioned as asked."""
    layer = PADFeedForward(LayerConfig(**config)).double().eval()
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
    layer = _layer(fields, num_experts_per_tok=chosen)
    assert layer.multiply_adds() == MultiplyAdds(DENSE, chosen * DENSE, current(chosen))


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
    _, gates, index, _ = layer.router(hidden.view(-1, HIDDEN))
    expected = reference_experts(layer.experts, hidden.view(-1, HIDDEN), index, gates.double())
    # gates are float32 and sum to one as float32 can: the static part is counted once, not by their sum
    torch.testing.assert_close(layer(hidden), expected.view(2, 3, HIDDEN), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(layer(hidden.view(6, HIDDEN)), expected, rtol=1e-6, atol=1e-6)


def test_padding_changes_the_balance_loss_and_not_the_output() -> None:
    layer = _layer()
    hidden = torch.randn(2, 3, HIDDEN, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    losses = []
    layer.router.register_forward_hook(lambda module, inputs, routing: losses.append(routing.balance_loss))
    whole = layer(hidden, balance=True)
    padded = layer(hidden, torch.tensor([[1, 1, 0], [1, 0, 0]]), balance=True)
    silent = layer(hidden, torch.tensor([[1, 1, 0], [1, 0, 0]]))
    assert torch.equal(padded, whole)
    assert torch.equal(silent, whole)
    assert losses[0].item() != losses[1].item()
    assert losses[2] is None


@pytest.mark.parametrize("fields", [None, {"dynamic_ratio": 0.5}, {"dynamic_ratio": 1 / 3, "granularity": "unit"}])
@pytest.mark.parametrize("mask", [[[1, 1, 0], [1, 1, 1]], None])
def test_tokens_of_a_sentence_pass_the_experts_of_its_mean(fields: dict[str, Any] | None, mask: Any) -> None:
    layer, sizes = _layer(fields, router_level="sentence"), [sum(row) for row in mask or [[1, 1, 1]] * 2]
    hidden = torch.randn(2, 3, HIDDEN, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    ours, theirs = hidden.clone().requires_grad_(), hidden.clone().requires_grad_()
    output = layer(ours, mask and torch.tensor(mask))
    expected = []
    for sentence, size in zip(theirs, sizes, strict=True):
        _, gates, index, _ = layer.router(sum(sentence[:size])[None] / size)
        expected.append(reference_experts(layer.experts, sentence, index.repeat(3, 1), gates.double().repeat(3, 1)))
    torch.testing.assert_close(output, torch.stack(expected), rtol=1e-6, atol=1e-6)
    parameters = [parameter for name, parameter in layer.named_parameters() if name != "router.noise_weight"]
    gradients = torch.autograd.grad(output.square().sum(), [ours, *parameters])
    wanted = torch.autograd.grad(torch.stack(expected).square().sum(), [theirs, *parameters])
    assert all(gradient.any() for gradient in wanted)
    for gradient, correct in zip(gradients, wanted, strict=True):
        torch.testing.assert_close(gradient, correct, rtol=1e-5, atol=1e-5)


def test_the_balance_loss_of_sentences_counts_each_once() -> None:
    layer = _layer(router_level="sentence")
    hidden = torch.randn(5, 3, HIDDEN, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    seen = []
    layer.router.register_forward_hook(lambda module, inputs, routing: seen.append(routing))
    layer(hidden, torch.tensor([[1, 0, 0]] * 5), balance=True)
    layer.router(hidden[:, 0], None, True)
    assert seen[0].logits.shape == (5, 3)
    assert torch.equal(seen[0].balance_loss, seen[1].balance_loss)
