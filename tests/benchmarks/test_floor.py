import pytest
import torch

from benchmarks.floor import Floor
from benchmarks.layers import LayerSizes, partition_at_random

SIZES = LayerSizes(16, 64, num_experts=4)
TOKENS = 24


@pytest.mark.parametrize("ratio", [0.25, 0.5, 1.0])
def test_the_floor_has_the_multiply_adds_that_the_report_counts(ratio: float) -> None:
    layer = SIZES.layer()
    if ratio < 1:
        partition_at_random(layer.experts, "unit", ratio)
    assert Floor(SIZES, TOKENS, ratio).multiply_adds == TOKENS * layer.multiply_adds(torch.empty(1, 16)).current


def test_its_products_are_those_of_a_linear_layer_and_its_gradients() -> None:
    floor = Floor(SIZES, TOKENS, 0.5)
    floor.run("forward+backward")
    for product in floor.products:
        inputs, weight = (tensor.clone().requires_grad_() for tensor in (product.inputs, product.weight))
        outputs = torch.nn.functional.linear(inputs, weight)
        outputs.backward(product.outputs)
        torch.testing.assert_close(product.outputs, outputs.detach())
        torch.testing.assert_close(product.grad_inputs, inputs.grad)
        torch.testing.assert_close(product.grad_weight, weight.grad)
