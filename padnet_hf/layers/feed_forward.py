"""The dynamic feed-forward layer: a router and its experts."""

from typing import Any

import torch
from torch import Tensor

from padnet_hf.errors import PADNetError
from padnet_hf.layers.experts import Activation, PADExperts
from padnet_hf.layers.router import NoisyTopKRouter
from padnet_hf.method.layer import MaskGroup, MultiplyAdds, PADLayer


class PADFeedForward(PADLayer):
    """Mixture-of-experts feed-forward layer with one router for whole experts.

    Departure from upstream, which routes each linear layer by itself: half the routing, and what Mixtral does.

    Args:
        hidden_size: H.
        inner_size: I, hidden neurons of one expert.
        activation: its function, or transformers' name of it.
        num_experts: E.
        top_k: K, experts that a token passes.
        router_noise, router_noise_epsilon: of `NoisyTopKRouter`.
        experts: options of `PADExperts`: gated, bias, dropout, implementation.
    """

    def __init__(
        self,
        hidden_size: int,
        inner_size: int,
        activation: Activation | str,
        *,
        num_experts: int = 8,
        top_k: int = 2,
        router_noise: bool = False,
        router_noise_epsilon: float = 1e-2,
        **experts: Any,
    ) -> None:
        super().__init__()
        self.router = NoisyTopKRouter(
            hidden_size, num_experts, top_k, noise=router_noise, noise_epsilon=router_noise_epsilon
        )
        self.experts = PADExperts(num_experts, hidden_size, inner_size, activation, gates_sum_to_one=True, **experts)

    def forward(self, hidden: Tensor) -> Tensor:
        """hidden (..., H) -> (..., H). Padding is routed like all else; the balance loss leaves it out."""
        tokens = hidden.reshape(-1, hidden.shape[-1])
        if self.experts.is_static:
            return self.experts.static_network(tokens).view(hidden.shape)
        routing = self.router(tokens)
        if self.usage is not None:
            self.usage.index_add_(0, routing.index.flatten(), routing.weights.detach().flatten())
        return self.experts(tokens, routing.index, routing.weights).view(hidden.shape)

    def unit_group(self) -> MaskGroup:
        up, up_bias, down, down_bias = self.experts.weights
        weights = (up, down) if up_bias is None else (up, up_bias, down)
        return MaskGroup(weights, () if down_bias is None else (down_bias,))

    def multiply_adds(self, inputs: Tensor) -> MultiplyAdds:
        """Per token: the projections of every expert chosen, as far as it has them, and of the static neurons once."""
        experts, chosen = self.experts, self.router.top_k
        up, down = experts.weights.up, experts.weights.down
        of_all = up.shape.numel() + down.shape.numel()
        if experts.is_static:
            return MultiplyAdds(of_all, chosen * of_all, of_all)
        inner = down.shape[1]
        dynamic = up.num_dynamic if experts.has_static_units or up.leaves_out else inner
        static = 0 if up.leaves_out else inner - dynamic
        current = of_all // inner * (chosen * dynamic + static)
        return MultiplyAdds(of_all, chosen * of_all, current)

    def outline(self, inputs: Tensor) -> Tensor:
        hidden = self.experts.weights.down.shape[0]
        if inputs.shape[-1] != hidden:
            raise PADNetError(
                f"a feed-forward layer of hidden size {hidden} stands where values of size {inputs.shape[-1]} come in: "
                "correct the declaration of its family (are up and down projection the right way round?)."
            )
        return torch.empty_like(inputs)
