"""Noisy top-k router (Shazeer et al. 2017, section 2.1), as upstream's MoE uses it.

Axis letters: T tokens, H hidden, E experts, K chosen experts.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from padnet_hf.layers.routing_log import record


class Routing(NamedTuple):
    """What the router decided.

    logits: (T, E) float32, without noise.
    weights: (T, K) float32, gates of the chosen experts, summing to one.
    index: (T, K) int64, the chosen experts.
    noisy: (T, E) float32, the logits with the noise of this call, if any: what the experts were chosen by.
    deviation: (T, E) float32, standard deviation of that noise, None without it.
    was_without_gradients: whether gradients were off.
    """

    logits: Tensor
    weights: Tensor
    index: Tensor
    noisy: Tensor
    deviation: Tensor | None
    was_without_gradients: bool = False


class NoisyTopKRouter(nn.Module):
    """Chooses K of E experts per token; in training the logits carry learned Gaussian noise.

    Args:
        hidden_size: H.
        num_experts: E.
        top_k: K.
        noise: whether to add noise in training at all (upstream: yes).
        noise_epsilon: least standard deviation of the noise (upstream: 1e-2).
    """

    def __init__(
        self, hidden_size: int, num_experts: int, top_k: int, *, noise: bool = True, noise_epsilon: float = 1e-2
    ) -> None:
        super().__init__()
        self.top_k = top_k
        self.noise_epsilon = noise_epsilon
        self.weight = nn.Parameter(torch.zeros(num_experts, hidden_size))
        self.noise_weight = nn.Parameter(torch.zeros(num_experts, hidden_size)) if noise else None

    def forward(self, hidden: Tensor) -> Routing:
        """Route tokens (T, H), and tell the routing log."""
        logits = F.linear(hidden, self.weight).float()
        noisy, deviation = logits, None
        if self.training and self.noise_weight is not None:
            deviation = F.softplus(F.linear(hidden, self.noise_weight).float()) + self.noise_epsilon
            noisy = logits + torch.randn_like(logits) * deviation
        top, index = noisy.topk(self.top_k, dim=-1)
        routing = Routing(logits, top.softmax(dim=-1), index, noisy, deviation, not torch.is_grad_enabled())
        record(routing)
        return routing

    def extra_repr(self) -> str:
        return (
            f"{self.weight.shape[1]} -> {self.top_k} of {self.weight.shape[0]}, noise={self.noise_weight is not None}"
        )


def balance_loss(routing: Routing, token_mask: Tensor | None = None) -> Tensor:
    """CV(importance)^2 + CV(load)^2 (Shazeer et al. 2017, equations 7 and 11), a scalar.

    token_mask: (T,), zero for padding, which does not count.
    """
    logits, weights, index, noisy, deviation, _ = routing
    keep = torch.ones_like(logits[:, :1]) if token_mask is None else token_mask.reshape(-1, 1).to(logits.dtype)
    importance = torch.zeros_like(logits).scatter(1, index, weights).mul(keep).sum(dim=0)
    load = (_chosen(logits, noisy, deviation, index) * keep).sum(dim=0)
    return squared_variation(importance) + squared_variation(load)


def _chosen(logits: Tensor, noisy: Tensor, deviation: Tensor | None, index: Tensor) -> Tensor:
    """(T, E): the probability that each expert is chosen if its own noise is drawn again (equations 8 to 10).

    Without noise, or when every expert is chosen, it is 1 for the chosen ones and carries no gradient.
    """
    num_experts, top_k = logits.shape[1], index.shape[1]
    if deviation is None or top_k == num_experts:
        return torch.zeros_like(logits).scatter(1, index, 1.0)
    top = noisy.topk(top_k + 1, dim=-1).values
    in_threshold, out_threshold = top[:, top_k, None], top[:, top_k - 1, None]
    threshold = torch.where(noisy > in_threshold, in_threshold, out_threshold)  # the K-th largest of the others
    return torch.special.ndtr((logits - threshold) / deviation)


def squared_variation(values: Tensor) -> Tensor:
    """Squared coefficient of variation of values (E,): population variance by squared mean."""
    return values.var(correction=0) / (values.mean().square() + 1e-10)
