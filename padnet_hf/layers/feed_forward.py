"""The dynamic feed-forward layer: a router and its experts."""

from typing import Literal, Protocol

from torch import Tensor

from padnet_hf.layers.experts import ExpertsConfig, PADExperts
from padnet_hf.layers.router import NoisyTopKRouter
from padnet_hf.method.layer import MaskGroup, MultiplyAdds, PADLayer

RouterLevel = Literal["token", "sentence"]


class FeedForwardConfig(ExpertsConfig, Protocol):
    """What the layer reads of a model's configuration."""

    num_experts_per_tok: int
    router_level: RouterLevel
    router_noise: bool
    router_noise_epsilon: float


class PADFeedForward(PADLayer):
    """Mixture-of-experts feed-forward layer with one router for whole experts.

    Departure from upstream, which routes each linear layer by itself: half the routing, and what Mixtral does. With
    `router_level` "sentence" all tokens of a sentence pass the same experts, chosen by the mean of their hidden states
    (Kudugunta et al. 2021).
    """

    def __init__(self, config: FeedForwardConfig) -> None:
        super().__init__()
        self.router_level = config.router_level
        self.router = NoisyTopKRouter(
            config.hidden_size,
            config.num_experts,
            config.num_experts_per_tok,
            noise=config.router_noise,
            noise_epsilon=config.router_noise_epsilon,
        )
        self.experts = PADExperts(config)

    def forward(self, hidden: Tensor, token_mask: Tensor | None = None, balance: bool = False) -> Tensor:
        """hidden (..., S, H) -> (..., S, H); token_mask (..., S) is zero for padding, by which nothing is chosen.

        At the level of tokens, padding is routed too, but the balance loss leaves it out.
        """
        tokens = hidden.reshape(-1, hidden.shape[-1])
        if self.router_level == "token":
            _, weights, index, _ = self.router(tokens, token_mask, balance)
        else:
            routing = self.router(sentence_means(hidden, token_mask).reshape(-1, hidden.shape[-1]), None, balance)
            index, weights = (_for_tokens(chosen, hidden.shape[-2]) for chosen in (routing.index, routing.weights))
        if self.experts.is_static:  # no expert to send tokens to, should they be on several processes
            return self.experts.static_network(tokens).view(hidden.shape)
        return self.experts(tokens, index, weights).view(hidden.shape)

    def unit_group(self) -> MaskGroup:
        experts = self.experts.weights
        return MaskGroup((experts.up_proj, experts.up_proj_bias, experts.down_proj), (experts.down_proj_bias,))

    def multiply_adds(self) -> MultiplyAdds:
        """Per token: up and down projection of every expert chosen, and of the static neurons once."""
        up, chosen = self.experts.weights.up_proj, self.router.top_k
        inner, hidden = up.shape
        dense = 2 * inner * hidden
        if self.experts.is_static:
            return MultiplyAdds(dense, chosen * dense, dense)
        dynamic = up.num_dynamic if self.experts.has_static_units else inner
        return MultiplyAdds(dense, chosen * dense, 2 * hidden * (chosen * dynamic + inner - dynamic))


def sentence_means(hidden: Tensor, token_mask: Tensor | None) -> Tensor:
    """Means of hidden (..., S, H) over the tokens under token_mask (..., S), all of them without one -> (..., H)."""
    if token_mask is None:
        return hidden.mean(dim=-2)
    keep = token_mask.to(hidden.dtype)[..., None]
    return (hidden * keep).sum(dim=-2) / keep.sum(dim=-2).clamp(min=1)


def _for_tokens(chosen: Tensor, length: int) -> Tensor:
    """What was chosen for sentences (B, K), for each of their S tokens -> (B * S, K)."""
    return chosen[:, None].expand(-1, length, -1).flatten(0, 1)
