"""Attention over the kernels of a dynamic convolution (Chen et al. 2020, DY-Conv; Yang et al. 2019, CondConv).

Axis letters: B batch, C input channels, E kernels.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from padnet_hf.errors import PADNetError

AttentionFunction = Callable[[Tensor, float], Tensor]

_FUNCTIONS: dict[str, AttentionFunction] = {}
_SUM_TO_ONE: set[str] = set()


def register_attention(name: str, *, sums_to_one: bool = False) -> Callable[[AttentionFunction], AttentionFunction]:
    """Decorator that makes `function(logits, temperature)`, (B, E) float32 -> weights (B, E), available by name.

    Logits start in pairs z and -z. For these the weights of a sample should sum to one, so that a dense network gives
    the same logits after upcycling. `sums_to_one` says that they do for all logits: then a trained network whose
    kernels are equal is equal to a dense one.
    """

    def register(function: AttentionFunction) -> AttentionFunction:
        _FUNCTIONS[name] = function
        (_SUM_TO_ONE.add if sums_to_one else _SUM_TO_ONE.discard)(name)
        return function

    return register


def attention_named(name: str) -> AttentionFunction:
    """The attention function registered under this name. Raises PADNetError if there is none."""
    if name not in _FUNCTIONS:
        raise PADNetError(
            f"attention is {name!r}, but must be one of {', '.join(sorted(_FUNCTIONS))}; register_attention adds more."
        )
    return _FUNCTIONS[name]


@register_attention("softmax", sums_to_one=True)
def softmax(logits: Tensor, temperature: float) -> Tensor:
    """Weights that compete and sum to one (DY-Conv, and the paper's)."""
    return torch.softmax(logits / temperature, dim=-1)


@register_attention("sigmoid")
def sigmoid(logits: Tensor, temperature: float) -> Tensor:
    """Weights independent of each other (CondConv), times 2 / E so that they sum to one for logits of zero (ours)."""
    return torch.sigmoid(logits / temperature) * (2 / logits.shape[-1])


def check_temperature(temperature: float) -> float:
    """The temperature as a float. Raises PADNetError unless it is above 0 and finite."""
    if not 0 < temperature < float("inf"):
        raise PADNetError(f"temperature is {temperature!r}, but must be above 0 and finite; 1 is usual after training.")
    return float(temperature)


class PairedLinear(nn.Linear):
    """A linear layer that starts with outputs in pairs z and -z (a last single one zero), at random.

    With equal kernels and equal weights no gradient would ever tell the kernels apart, and with other weights a
    sigmoid's would not sum to one.
    """

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Start as nn.Linear does, in pairs and without bias."""
        super().reset_parameters()
        self.weight.copy_(self.paired(self.weight))
        nn.init.zeros_(self.bias)

    @staticmethod
    def paired(rows: Tensor) -> Tensor:
        """A copy whose every second row is the negative of the one before it, a last single row zero."""
        rows, half = rows.clone(), rows.shape[0] // 2
        rows[1 : 2 * half : 2] = -rows[: 2 * half : 2]
        rows[2 * half :] = 0
        return rows


class KernelAttention(nn.Module):
    """Global average pool, C -> max(C // reduction, 1) without bias, ReLU, -> E, weights (upstream's layers).

    Args:
        temperature: divides the logits. High values keep the kernels' weights equal, so that early in training all
            kernels learn; a TemperatureCallback lowers it.
    """

    def __init__(self, in_channels: int, num_kernels: int, reduction: int, function: str, temperature: float) -> None:
        super().__init__()
        self.function = function
        self.temperature = check_temperature(temperature)
        attention_named(function)
        hidden = max(in_channels // reduction, 1)
        self.squeeze = nn.Linear(in_channels, hidden, bias=False)
        self.score = PairedLinear(hidden, num_kernels)

    def forward(self, inputs: Tensor) -> Tensor:
        """inputs (B, C, height, width) -> weights (B, E), float32 at least."""
        hidden = F.relu(self.squeeze(inputs.mean(dim=(2, 3))))
        logits = self.score(hidden)
        precision = torch.promote_types(logits.dtype, torch.float32)
        return attention_named(self.function)(logits.to(precision), self.temperature)

    @torch.no_grad()
    def sums_to_one(self) -> bool:
        """Whether the weights of every sample do: by their function, or as the logits are in pairs still."""
        if self.function in _SUM_TO_ONE:
            return True
        score = self.score
        is_own = isinstance(score, PairedLinear)  # nothing is wrapped around it that adds to its logits
        return is_own and torch.equal(score.weight, score.paired(score.weight)) and not score.bias.any()

    def extra_repr(self) -> str:
        return f"{self.function}, temperature={self.temperature:g}"


def set_temperature(model: nn.Module, temperature: float) -> int:
    """Set the temperature of every attention over kernels in a module; gives their number. PADNetError unless > 0."""
    value, attentions = check_temperature(temperature), [m for m in model.modules() if isinstance(m, KernelAttention)]
    for attention in attentions:
        attention.temperature = value
    return len(attentions)
