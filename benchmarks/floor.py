"""The least that a layer's arithmetic takes: its matrix products and nothing else.

Axis letters: T tokens, H hidden, I inner, E experts, K chosen experts, d dynamic units, O outputs of a product.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from benchmarks.layers import LayerSizes, dynamic_count


class Product(NamedTuple):
    """inputs (n, I) times weight (O, I) gives outputs (n, O), as in a linear layer; and gradients of the first two."""

    inputs: Tensor
    weight: Tensor
    outputs: Tensor
    grad_inputs: Tensor
    grad_weight: Tensor

    @property
    def multiply_adds(self) -> int:
        return self.inputs.numel() * self.weight.shape[0]


class Floor:
    """torch.mm of the sizes that a partition by unit needs with even routing, into memory that is there already.

    No sorting, biases, activations or gates. With ratio 1 it is the floor of the fully dynamic layer, and of every
    partition by element. Expert by expert: what one expert's products leave in the cache, the next ones may find.
    """

    def __init__(self, sizes: LayerSizes, tokens: int, ratio: float, dtype: torch.dtype = torch.float32) -> None:
        hidden, dynamic = sizes.hidden_size, dynamic_count(sizes.inner_size, "unit", ratio)
        static = sizes.inner_size - dynamic
        share = tokens * sizes.top_k // sizes.num_experts
        networks = [(tokens, static)] * bool(static) + [(share, dynamic)] * sizes.num_experts
        self.products = [p for count, inner in networks for p in _feed_forward(count, hidden, inner, dtype)]

    @property
    def multiply_adds(self) -> int:
        """Of the forward pass."""
        return sum(product.multiply_adds for product in self.products)

    def run(self, mode: str) -> None:
        """The products of a forward pass, or of a forward and backward pass."""
        with torch.no_grad():
            for inputs, weight, outputs, _, _ in self.products:
                torch.mm(inputs, weight.t(), out=outputs)
            if mode == "forward":
                return
            for inputs, weight, outputs, grad_inputs, grad_weight in reversed(self.products):
                torch.mm(outputs, weight, out=grad_inputs)  # the outputs stand for their own gradient
                torch.mm(outputs.t(), inputs, out=grad_weight)


def _feed_forward(tokens: int, hidden: int, inner: int, dtype: torch.dtype) -> Iterator[Product]:
    """The two products of a feed-forward network."""
    ends, middle = torch.randn(3, tokens, hidden, dtype=dtype), torch.randn(2, tokens, inner, dtype=dtype)
    up, down = (torch.randn(2, *shape, dtype=dtype) * 0.02 for shape in ((inner, hidden), (hidden, inner)))
    yield Product(ends[0], up[0], middle[0], ends[1], up[1])
    yield Product(middle[0], down[0], ends[2], middle[1], down[1])
