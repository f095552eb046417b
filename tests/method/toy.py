"""A model with two dynamic layers, small enough for slow references."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from padnet_hf.layers.feed_forward import PADFeedForward
from padnet_hf.method.layer import pad_weights


def toy_layer(inner_size: int = 24, **options: Any) -> PADFeedForward:
    """A layer of 4 hidden values and 3 experts, 2 of them for each token, with a noisy router."""
    fields = {"num_experts": 3, "top_k": 2, "router_noise": True, "implementation": "eager"} | options
    return PADFeedForward(4, inner_size, "gelu", **fields)


@dataclass
class Seen:
    """What a forward pass of the toy model saw of itself, one entry per call."""

    training: list[bool] = field(default_factory=list)


class ToyModel(nn.Module):
    """Two residual dynamic layers of 24 and 40 hidden neurons, dropout, and a head with a loss."""

    def __init__(self, seed: int = 0, *, equal_copies: bool = False, dtype: torch.dtype = torch.float64) -> None:
        super().__init__()
        self.layers = nn.ModuleList([toy_layer(inner) for inner in (24, 40)])
        self.dropout = nn.Dropout(0.3)
        self.head = nn.Linear(4, 3)
        self.seen = Seen()
        self.on_forward: Callable[[int], None] = lambda call: None
        self.to(dtype)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator))
            if equal_copies:
                for weight in pad_weights(self).values():
                    weight.dynamic.copy_(weight.dynamic[:1].clone())

    def forward(self, hidden: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
        """hidden (B, S, 4), labels (B,) -> logits (B, 3) and, with labels, the loss."""
        self.seen.training.append(self.training)
        self.on_forward(len(self.seen.training) - 1)
        for layer in self.layers:
            hidden = hidden + layer(self.dropout(hidden))
        logits = self.head(hidden.mean(dim=1))
        if labels is None:
            return {"logits": logits}
        return {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}


def toy_batches(count: int, dtype: torch.dtype = torch.float64) -> list[dict[str, Tensor]]:
    """Batches of different sizes, so that their number and the number of their samples differ."""
    generator = torch.Generator().manual_seed(7)
    return [
        {
            "hidden": torch.randn(2 + index, 5, 4, generator=generator).to(dtype),
            "labels": torch.randint(3, (2 + index,), generator=generator),
        }
        for index in range(count)
    ]
