"""The experts of a trained mixture, in a block of transformers that routes by itself."""

from typing import Any

import torch
from torch import Tensor

from padnet_hf.layers.experts import Activation, PADExperts
from padnet_hf.method.layer import MultiplyAdds, PADLayer


class PADRoutedExperts(PADExperts, PADLayer):
    """Experts as a layer of their own: it takes the place of a stock experts module, and is called as that one is.

    Router and block stay stock, and their gates need not sum to one: what is static is multiplied by the sum of a
    token's gates, also where it should be one. There it has rounding errors of its own in half precision, which the
    stock mixture's output has too, and it keeps the router in the graph when nothing is dynamic, as DDP wants it.

    Args:
        num_experts: E.
        hidden_size: H.
        inner_size: I, hidden neurons of one expert.
        activation: its function, or transformers' name of it.
        top_k: K, experts that the router chooses for a token; for counting work alone.
        experts: options of `PADExperts`: gated, bias, dropout, implementation.
    """

    def __init__(
        self,
        num_experts: int,
        hidden_size: int,
        inner_size: int,
        activation: Activation | str,
        *,
        top_k: int,
        **experts: Any,
    ) -> None:
        super().__init__(num_experts, hidden_size, inner_size, activation, gates_sum_to_one=False, **experts)
        self.top_k = top_k

    def forward(self, hidden: Tensor, index: Tensor, weights: Tensor) -> Tensor:
        """hidden (T, H), index (T, K) chosen experts, weights (T, K) gates -> (T, H)."""
        if self.usage is not None:
            self.usage.index_add_(0, index.flatten(), weights.detach().flatten().float())
        return super().forward(hidden, index, weights)

    def multiply_adds(self, inputs: Tensor) -> MultiplyAdds:
        return self.work_of_token(self.top_k)

    def outline(self, inputs: Tensor) -> Tensor:
        return torch.empty_like(inputs)
