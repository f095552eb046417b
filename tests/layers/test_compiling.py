"""torch.compile takes whole layers as one graph, for any number of inputs, in training too.

Without inductor, whose C++ takes minutes: what could break a graph does so before it.
"""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from tests.layers.reference import make_experts, make_routing
from tests.layers.reference_conv import assert_same, make_conv, make_inputs
from tests.layers.reference_conv import run as run_conv

FORMS = [pytest.param("fully dynamic", marks=pytest.mark.slow), "element", pytest.param("unit", marks=pytest.mark.slow)]
OWN = [*FORMS, "per copy"]


@pytest.fixture(autouse=True)
def _forget() -> None:
    torch.compiler.reset()


def compiled(module: nn.Module) -> tuple[Callable[..., Tensor], list[int]]:
    """The module compiled as a whole, and a list that grows by one with every graph."""
    graphs: list[int] = []

    def backend(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Callable[..., Tensor]:
        graphs.append(len(graph.graph.nodes))
        return torch._dynamo.lookup_backend("aot_eager")(graph, inputs)

    return torch.compile(module, fullgraph=True, dynamic=True, backend=backend), graphs


@pytest.mark.parametrize("form", [*OWN, pytest.param("left out", marks=pytest.mark.slow)])
def test_experts_are_one_graph_with_the_same_values_and_gradients(form: str) -> None:
    experts = make_experts(form)
    fast, graphs = compiled(experts)
    for num_tokens in (13, 5):
        hidden, logits, index = make_routing(num_tokens)
        gradients = []
        for function in (experts, fast):
            leaves = [tensor.detach().requires_grad_() for tensor in (hidden, logits.softmax(dim=-1))]
            experts.zero_grad()
            output = function(leaves[0], index, leaves[1])
            output.square().sum().backward()
            gradients.append([output.detach(), *(p.grad for p in (*leaves, *experts.parameters()))])
        for one, other in zip(*gradients, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)
    assert len(graphs) == 1


@pytest.mark.parametrize("form", OWN)
def test_dynamic_convolutions_are_one_graph_with_the_same_values_and_gradients(form: str) -> None:
    conv = make_conv(form, kernel_size=3, padding=1)
    fast, graphs = compiled(conv)
    for batch in (3, 5):
        conv.zero_grad()
        expected = {name: tensor.clone() for name, tensor in run_conv(conv, make_inputs(batch)).items()}
        conv.zero_grad()
        assert_same(run_conv(conv, make_inputs(batch), lambda inputs: fast(inputs)), expected)
    assert len(graphs) == 1
