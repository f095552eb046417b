"""Experts of a trained mixture, in a block whose router is stock: gates that do not sum to one, and what is counted."""

import pytest
import torch
from torch import Tensor, nn

from padnet_hf.layers.routed_experts import PADRoutedExperts
from padnet_hf.method.conversion import partitioned_state
from padnet_hf.method.layer import MultiplyAdds, pad_weights
from padnet_hf.method.work import count_work
from tests.layers.reference import make_routing

HIDDEN, INNER = 8, 24
FORMS = {"fully dynamic": None, "unit": 8, "element": 100, "static": 0}
"""How many units or elements of each weight are dynamic."""


def made(form: str, dtype: torch.dtype = torch.float64) -> PADRoutedExperts:
    experts = PADRoutedExperts(4, HIDDEN, INNER, "silu", top_k=2, gated=True, bias=False)
    generator = torch.Generator().manual_seed(0)
    for weight in pad_weights(experts).values():
        weight.become({"dynamic": torch.randn(weight.dynamic.shape, generator=generator) / 2})
        if FORMS[form] is not None:
            granularity = "element" if form == "element" else "unit"
            mask = torch.arange(weight.num_candidates(granularity)) < FORMS[form]
            weight.become(partitioned_state(weight, mask, granularity), granularity)
        if weight.phi is not None:
            nn.init.constant_(weight.phi, 0.7)
    return experts.to(dtype)


def of_units(experts: PADRoutedExperts, hidden: Tensor, index: Tensor, gates: Tensor) -> Tensor:
    """(sum of a token's gates) * FFN_static(x) + sum of gates * FFN_e(x), token by token, from the compact tensors."""
    up, down = experts.gate_up_proj, experts.down_proj
    (up_d, up_s), (down_d, down_s) = ((2 * torch.sigmoid(w.phi), 2 - 2 * torch.sigmoid(w.phi)) for w in (up, down))

    def network(rows: Tensor, back: Tensor, token: Tensor) -> Tensor:
        gate, value = (rows @ token).chunk(2)
        return back @ (nn.functional.silu(gate) * value)

    outputs = []
    for token, chosen, weights in zip(hidden, index.tolist(), gates, strict=True):
        output = weights.sum() * network(up_s * up.static, down_s * down.static, token)
        for expert, weight in zip(chosen, weights, strict=True):
            output = output + weight * network(up_d * up.dynamic[expert], down_d * down.dynamic[expert], token)
        outputs.append(output)
    return torch.stack(outputs)


def test_the_static_part_is_multiplied_by_the_sum_of_a_tokens_gates() -> None:
    experts = made("unit")
    hidden, logits, index = make_routing(9)
    sums = logits.sigmoid().sum(dim=-1)  # anything from 0 to 2
    assert sums.max() - sums.min() > 0.3
    tensors = [hidden, logits, *experts.parameters()]
    found, expected = experts(hidden, index, logits.sigmoid()), of_units(experts, hidden, index, logits.sigmoid())
    torch.testing.assert_close(found, expected)
    weights = torch.randn(found.shape, dtype=found.dtype, generator=torch.Generator().manual_seed(2))
    one, other = (torch.autograd.grad((output * weights).sum(), tensors) for output in (found, expected))
    torch.testing.assert_close(one, other)


@pytest.mark.parametrize("form", FORMS)
def test_gates_of_twice_the_size_give_twice_the_output_in_every_form(form: str) -> None:
    experts = made(form)
    hidden, logits, index = make_routing(9)
    gates = logits.sigmoid()
    torch.testing.assert_close(experts(hidden, index, 2 * gates), 2 * experts(hidden, index, gates))


def test_a_router_gets_its_gradient_though_nothing_is_dynamic() -> None:
    experts = made("static")
    hidden, logits, index = make_routing(9)
    experts(hidden, index, logits.sigmoid()).sum().backward()
    assert logits.grad.abs().min() > 0


def test_use_is_counted_while_it_is_asked_for() -> None:
    experts = made("fully dynamic")
    hidden, logits, index = make_routing(9)
    gates = logits.sigmoid()
    experts.usage = torch.zeros(4)
    experts(hidden, index, gates)
    expected = torch.zeros(4, dtype=torch.float64).index_add_(0, index.flatten(), gates.detach().flatten())
    torch.testing.assert_close(experts.usage, expected.float())


class Block(nn.Module):
    """As stock blocks call it."""

    def __init__(self, experts: PADRoutedExperts) -> None:
        super().__init__()
        self.experts = experts

    def forward(self, hidden: Tensor) -> Tensor:
        weights, index = hidden[:, :4].topk(2)
        return self.experts(hidden, index, weights)


def test_work_is_of_the_chosen_experts_and_of_static_units_once() -> None:
    one = 3 * HIDDEN * INNER
    of_unit = 3 * HIDDEN * (2 * 8 + INNER - 8)
    for form, current in (("fully dynamic", 2 * one), ("unit", of_unit), ("element", 2 * one), ("static", one)):
        found = count_work(Block(made(form)), {"hidden": torch.randn(5, HIDDEN, dtype=torch.float64)})
        assert found == {"experts": MultiplyAdds(one, 2 * one, current)}
