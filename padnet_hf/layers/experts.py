"""A mixture of feed-forward experts on PADWeights.

Axis letters: T tokens, H hidden, I inner, E experts, K chosen experts, U = I units (hidden neurons), d dynamic ones.
"""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from transformers.activations import ACT2FN
from transformers.integrations.moe import ALL_EXPERTS_FUNCTIONS

from padnet_hf.layers.autocast import in_autocast_dtype
from padnet_hf.layers.rebuild import RebuiltInBackward
from padnet_hf.layers.wrapped import call_inside, unwrapped
from padnet_hf.method.packing import linear_of_copies
from padnet_hf.method.weight import PADWeight


class ExpertsConfig(Protocol):
    """What the experts read of a model's configuration."""

    num_experts: int
    hidden_size: int
    intermediate_size: int
    hidden_act: str
    expert_dropout: float
    _experts_implementation: str | None


@dataclass
class BuiltExperts:
    """Experts as plain tensors, with the attributes that transformers' experts implementations read of a module.

    `experts_loop` takes the projections as PADWeights too.
    """

    up_proj: Tensor | PADWeight
    up_proj_bias: Tensor
    down_proj: Tensor | PADWeight
    down_proj_bias: Tensor
    act_fn: Callable[[Tensor], Tensor]
    has_gate: bool = False
    has_bias: bool = True
    has_post_expert_norm: bool = False
    is_transposed: bool = False
    is_concatenated: bool = True
    _is_expert_parallel: bool = False  # whether an index may be num_experts, for an expert on another process

    @property
    def num_experts(self) -> int:
        return self.up_proj_bias.shape[0]


def experts_loop(experts: BuiltExperts, hidden: Tensor, index: Tensor, weights: Tensor) -> Tensor:
    """The "eager" implementation: one expert after the other over the tokens that chose it.

    hidden (T, H), index (T, K), weights (T, K) -> (T, H). Every expert is run, also without tokens: no branch depends
    on data, so that the loop can be exported.
    """
    chosen = [torch.where(index == expert) for expert in range(experts.num_experts)]
    inner = _linear((hidden[token] for token, _ in chosen), experts.up_proj, experts.up_proj_bias)
    outer = _linear(map(experts.act_fn, inner), experts.down_proj, experts.down_proj_bias)
    output = torch.zeros_like(hidden)
    for (token, slot), values in zip(chosen, outer, strict=True):
        output.index_add_(0, token, (values * weights[token, slot, None]).to(output.dtype))
    return output


def _linear(inputs: Iterable[Tensor], weight: Tensor | PADWeight, bias: Tensor) -> Iterable[Tensor]:
    return weight.linear(inputs, bias) if isinstance(weight, PADWeight) else linear_of_copies(inputs, weight, bias)


BY_DEVICE = "pad"
"""Name of the default implementation. On a CPU the loop is the faster one in every form (benchmarks/experts.py)."""

ALL_EXPERTS_FUNCTIONS.register(BY_DEVICE, experts_loop)


class ExpertWeights(NamedTuple):
    """The four weights of PADExperts."""

    up_proj: PADWeight
    up_proj_bias: PADWeight
    down_proj: PADWeight
    down_proj_bias: PADWeight


class PADExperts(nn.Module):
    """E feed-forward networks (up, activation, down, with biases) whose weights may be partly static.

    Fully dynamic or partitioned by element, every chosen expert is a whole network. Partitioned by unit, the static
    neurons form one network that every token passes once, and the experts shrink to their dynamic neurons: since the
    gates of a token sum to one, y = FFN_static(x) + sum_e g_e FFN_e(x).

    The implementation of the routed part is `config._experts_implementation`: "eager", "grouped_mm", any other that
    transformers' ExpertsInterface knows, or "pad": eager on a CPU, grouped_mm elsewhere. "eager" builds the weights of
    an element partition one expert at a time, the others need them whole.
    """

    def __init__(self, config: ExpertsConfig) -> None:
        super().__init__()
        self.config = config
        experts, hidden, inner = config.num_experts, config.hidden_size, config.intermediate_size
        self.up_proj = PADWeight(experts, (inner, hidden), unit_dim=0, ordered=False)
        self.up_proj_bias = PADWeight(experts, (inner,), unit_dim=0, ordered=False)
        self.down_proj = PADWeight(experts, (hidden, inner), unit_dim=1, ordered=False)
        self.down_proj_bias = PADWeight(experts, (hidden,))
        activation = ACT2FN[config.hidden_act]
        dropout = config.expert_dropout
        self.act_fn = nn.Sequential(activation, nn.Dropout(dropout)) if dropout else activation
        self.rebuild_in_backward = True

    def _modules_of_weights(self) -> ExpertWeights:
        return ExpertWeights(self.up_proj, self.up_proj_bias, self.down_proj, self.down_proj_bias)

    @property
    def weights(self) -> ExpertWeights:
        """The weights themselves, whatever is wrapped around them."""
        return ExpertWeights(*map(unwrapped, self._modules_of_weights()))

    @property
    def is_static(self) -> bool:
        return all(weight.is_static for weight in self.weights)

    @property
    def num_experts(self) -> int:
        """Experts on this process."""
        return self.weights.up_proj.num_own_copies

    @property
    def is_sharded(self) -> bool:
        """Whether other experts are on other processes."""
        return self.weights.up_proj.mesh is not None

    def shard(self, mesh: DeviceMesh) -> None:
        """Spread the experts over the processes of `mesh`. Raises PADNetError if they cannot be spread evenly."""
        for weight in self.weights:
            weight.shard(mesh)

    @property
    def has_static_units(self) -> bool:
        """Whether a static network stands beside the experts."""
        up = self.weights.up_proj
        return up.granularity == "unit" and up.phi is not None

    def forward(self, hidden: Tensor, index: Tensor, weights: Tensor) -> Tensor:
        """hidden (T, H), index (T, K) chosen experts, weights (T, K) gates summing to one -> (T, H)."""
        if self.is_static:
            return self.static_network(hidden)
        return call_inside(self._modules_of_weights(), partial(self._mixture, hidden, index, weights))

    def _mixture(self, hidden: Tensor, index: Tensor, weights: Tensor) -> Tensor:
        hidden = in_autocast_dtype(hidden)
        dtype = hidden.dtype
        if self.has_static_units:
            return self._units(hidden, index, weights)
        own = self.weights
        if self._implementation(hidden.device) is experts_loop:
            packed = {"up_proj": own.up_proj, "down_proj": own.down_proj}
            built = {"up_proj_bias": own.up_proj_bias.build(), "down_proj_bias": own.down_proj_bias.build()}
            return self._routed(packed | built, hidden, index, weights)
        # Autograd keeps nothing of what is built when it is built again in the backward pass, so its memory can serve
        # the next layer.
        is_kept = torch.is_grad_enabled() and not self.rebuild_in_backward
        named = own._asdict().items()
        built = {name: w.build(None if is_kept else f"built {name}").to(dtype) for name, w in named}
        with self._rebuilt(built):
            return self._routed(built, hidden, index, weights)

    def static_network(self, hidden: Tensor) -> Tensor:
        """What every expert computes when nothing is dynamic, (T, H) -> (T, H)."""
        return call_inside(self._modules_of_weights(), partial(self._static_network, hidden))

    def _static_network(self, hidden: Tensor) -> Tensor:
        hidden = in_autocast_dtype(hidden)
        up, up_bias, down, down_bias = (weight.static.to(hidden.dtype) for weight in self.weights)
        return F.linear(self.act_fn(F.linear(hidden, up, up_bias)), down, down_bias)

    def _units(self, hidden: Tensor, index: Tensor, weights: Tensor) -> Tensor:
        """The unit partition. Scale factors go to the smallest tensor that carries them: activations, biases, gates."""
        dtype = hidden.dtype
        up, up_bias, down, down_bias = self.weights
        (up_d, up_s), (bias_d, bias_s), (down_d, down_s) = up.scales(), up_bias.scales(), down.scales()
        up_static, up_bias_static = up.shared_static * up_s, up_bias.shared_static * bias_s
        inner = self.act_fn(F.linear(hidden, up_static.to(dtype), up_bias_static.to(dtype)))
        static = F.linear(inner, (down.shared_static * down_s).to(dtype))
        dynamic = {
            "up_proj": up.own_dynamic.to(dtype),
            "up_proj_bias": (up_bias.own_dynamic * bias_d).to(dtype),
            "down_proj": down.own_dynamic.to(dtype),
            "down_proj_bias": (down_bias.build() / down_d).to(dtype),
        }
        routed = self._routed(dynamic, hidden * up_d.to(dtype), index, weights * down_d)
        if self.is_sharded:
            # These gates are those of this process's experts, and what the processes give is added up, so the static
            # network is in the sum once. As a token's gates sum to one, it has no gradient to give them.
            static = static * weights.detach().sum(dim=-1, keepdim=True).to(dtype)
        return static + routed

    def _routed(self, tensors: dict[str, Tensor | PADWeight], hidden: Tensor, index: Tensor, weights: Tensor) -> Tensor:
        experts = BuiltExperts(**tensors, act_fn=self.act_fn, _is_expert_parallel=self.is_sharded)
        return self._implementation(hidden.device)(experts, hidden, index, weights.to(hidden.dtype))

    def _implementation(self, device: torch.device) -> Callable[..., Tensor]:
        name = self.config._experts_implementation
        if name == BY_DEVICE:
            sizes = self.weights.up_proj.shape
            aligned = all(size % 8 == 0 for size in sizes)  # grouped_mm needs rows of whole 16 bytes
            name = "eager" if device.type == "cpu" or not aligned else "grouped_mm"
        return ALL_EXPERTS_FUNCTIONS.get_interface(name, experts_loop)

    def _rebuilt(self, built: dict[str, Tensor]) -> AbstractContextManager:
        packed = {name: w for name, w in self.weights._asdict().items() if w.phi is not None}
        if not (packed and self.rebuild_in_backward and torch.is_grad_enabled()) or torch.compiler.is_compiling():
            return nullcontext()  # compilers choose for themselves what to work out again
        return RebuiltInBackward([(built[name], weight) for name, weight in packed.items()])
