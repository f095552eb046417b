"""A mixture of feed-forward experts on PADWeights.

Axis letters: T tokens, H hidden, I inner, E experts, K chosen experts, U = I units (hidden neurons), d dynamic ones.
"""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from transformers.activations import ACT2FN
from transformers.integrations.moe import ALL_EXPERTS_FUNCTIONS

from padnet_hf.layers.autocast import in_autocast_dtype
from padnet_hf.layers.rebuild import RebuiltInBackward
from padnet_hf.layers.wrapped import call_inside, unwrapped
from padnet_hf.method.layer import MaskGroup, MultiplyAdds
from padnet_hf.method.packing import linear_of_copies, linear_of_some
from padnet_hf.method.weight import PADWeight

Activation = Callable[[Tensor], Tensor]


@dataclass
class BuiltExperts:
    """Experts as tensors, with the attributes that transformers' experts implementations read of a module.

    `experts_loop` takes the projections as PADWeights too. `inner` makes the inner activations (T, I) of the outputs of
    the first projection, (T, I) or, with gates, (T, 2I).
    """

    up: Tensor | PADWeight
    up_bias: Tensor | None
    down_proj: Tensor | PADWeight
    down_proj_bias: Tensor | None
    inner: Activation
    has_gate: bool
    num_experts: int
    has_post_expert_norm: bool = False
    is_transposed: bool = False
    is_concatenated: bool = True
    _is_expert_parallel: bool = False  # whether an index may be num_experts, for an expert on another process

    def __post_init__(self) -> None:
        self.up_proj = self.gate_up_proj = self.up
        self.up_proj_bias = self.gate_up_proj_bias = self.up_bias
        self.act_fn = self._apply_gate = self.inner
        self.has_bias = self.up_bias is not None


def experts_loop(experts: BuiltExperts, hidden: Tensor, index: Tensor, weights: Tensor) -> Tensor:
    """The "eager" implementation: one expert after the other over the tokens that chose it.

    hidden (T, H), index (T, K), weights (T, K) -> (T, H). With gradients off, as in decoding, the weights of experts
    without tokens are not touched. In training every expert is run, as every one gets a gradient, and in graphs too:
    there no branch may depend on data.
    """
    may_skip = not torch.is_grad_enabled() and not torch.compiler.is_compiling()
    if may_skip and len(hidden) == 1:
        return _of_one_token(experts, hidden, index, weights)
    # where experts are spread over processes, an index beyond those here stands for one elsewhere
    used = [e for e in index.unique().tolist() if e < experts.num_experts] if may_skip else None
    places = [torch.where(index == expert) for expert in (range(experts.num_experts) if used is None else used)]
    if torch.is_grad_enabled() and not torch.compiler.is_compiling():
        counts = [len(token) for token, _ in places]  # gathered at once, a row's gradients are added up only once
        gathered = hidden.index_select(0, torch.cat([token for token, _ in places])).split(counts)
    else:
        gathered = (hidden[token] for token, _ in places)
    inner = _linear(gathered, experts.up, experts.up_bias, used)
    outer = _linear(map(experts.inner, inner), experts.down_proj, experts.down_proj_bias, used)
    output = torch.zeros_like(hidden)
    for (token, slot), values in zip(places, outer, strict=True):
        output.index_add_(0, token, (values * weights[token, slot, None]).to(output.dtype))
    return output


def _of_one_token(experts: BuiltExperts, hidden: Tensor, index: Tensor, weights: Tensor) -> Tensor:
    """The same for T = 1, as in decoding: nothing has to be gathered."""
    chosen = [(expert, slot) for slot, expert in enumerate(index[0].tolist()) if expert < experts.num_experts]
    used = [expert for expert, _ in chosen]
    inner = _linear([hidden] * len(used), experts.up, experts.up_bias, used)
    outer = _linear(map(experts.inner, inner), experts.down_proj, experts.down_proj_bias, used)
    output = torch.zeros_like(hidden)
    for (_, slot), values in zip(chosen, outer, strict=True):
        output += values * weights[:, slot, None]
    return output


def _linear(
    inputs: Iterable[Tensor], weight: Tensor | PADWeight, bias: Tensor | None, used: list[int] | None
) -> Iterable[Tensor]:
    if isinstance(weight, PADWeight):
        return weight.linear(inputs, bias, used)
    return linear_of_copies(inputs, weight, bias) if used is None else linear_of_some(inputs, weight, bias, used)


BY_DEVICE = "pad"
"""Name of the default implementation. On a CPU the loop is the faster one in every form (benchmarks/experts.py)."""

ALL_EXPERTS_FUNCTIONS.register(BY_DEVICE, experts_loop)


class ExpertWeights(NamedTuple):
    """The weights of PADExperts. `up` holds the gates' projection too, where there is one."""

    up: PADWeight
    up_bias: PADWeight | None
    down: PADWeight
    down_bias: PADWeight | None

    @property
    def has_static_units(self) -> bool:
        """Whether a static network stands beside the experts."""
        return self.up.granularity == "unit" and self.up.phi is not None


def _is_smaller(weight: Tensor, hidden: Tensor) -> bool:
    """Whether a weight has fewer elements than hidden (T, H); never in graphs, which hold for any T."""
    return not (torch.compiler.is_compiling() or torch.jit.is_tracing()) and weight.numel() < hidden.numel()


def _scale_smaller(weight: Tensor, hidden: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """A weight and hidden (T, H), the smaller of them times `scale` ()."""
    if _is_smaller(weight, hidden):
        return weight * scale, hidden
    return weight, hidden * scale.to(hidden.dtype)


class PADExperts(nn.Module):
    """E feed-forward networks whose weights may be partly static.

    Plain: down(activation(up(x))), with `up_proj` (E, I, H) and `down_proj` (E, H, I).
    Gated: down(activation(gate(x)) * up(x)), with `gate_up_proj` (E, 2I, H), the gates' rows first.
    Biases have the same names with `_bias` at the end.

    Fully dynamic or partitioned by element, every chosen expert is a whole network. Partitioned by unit, the static
    neurons form one network that every token passes once, and the experts shrink to their dynamic neurons:
    y = sum_e g_e FFN_static(x) + sum_e g_e FFN_e(x). Where units are left out they shrink too, and are all there is.

    Args:
        num_experts: E.
        hidden_size: H.
        inner_size: I.
        activation: a function, or transformers' name of one.
        gated: whether there are gates.
        bias: whether there are biases.
        dropout: of the inner activations in training.
        gates_sum_to_one: whether those of every token do, as a softmax over the chosen experts gives them; the static
            part then need not be multiplied by their sum.
        implementation: of the routed part: "eager", "grouped_mm", any other that transformers' ExpertsInterface knows,
            or "pad": eager on a CPU, grouped_mm elsewhere. "eager" builds the weights of an element partition one
            expert at a time, the others need them whole. It can be changed at any time.
    """

    def __init__(
        self,
        num_experts: int,
        hidden_size: int,
        inner_size: int,
        activation: Activation | str,
        *,
        gated: bool = False,
        bias: bool = True,
        dropout: float = 0.0,
        gates_sum_to_one: bool = False,
        implementation: str | None = BY_DEVICE,
    ) -> None:
        super().__init__()
        self.gated, self.gates_sum_to_one, self.implementation = gated, gates_sum_to_one, implementation
        self.act_fn = ACT2FN[activation] if isinstance(activation, str) else activation
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()  # a rate of 0 would make compilers start twice
        self.rebuild_in_backward = True
        self.up_name = up = "gate_up_proj" if gated else "up_proj"
        rows = {"unit_dim": 0, "unit_blocks": 2 if gated else 1, "ordered": False}
        outputs = inner_size * rows["unit_blocks"]
        self._names = (up, f"{up}_bias", "down_proj", "down_proj_bias")
        self.add_module(up, PADWeight(num_experts, (outputs, hidden_size), **rows))
        if bias:
            self.add_module(f"{up}_bias", PADWeight(num_experts, (outputs,), **rows))
        self.down_proj = PADWeight(num_experts, (hidden_size, inner_size), unit_dim=1, ordered=False)
        if bias:
            self.down_proj_bias = PADWeight(num_experts, (hidden_size,))

    def _modules_of_weights(self) -> list[nn.Module]:
        return [self._modules[name] for name in self._names if name in self._modules]

    @property
    def weights(self) -> ExpertWeights:
        """The weights themselves, whatever is wrapped around them."""
        modules = (self._modules.get(name) for name in self._names)
        return ExpertWeights(*(None if module is None else unwrapped(module) for module in modules))

    @property
    def is_static(self) -> bool:
        return all(weight is None or weight.is_static for weight in self.weights)

    @property
    def num_experts(self) -> int:
        """Experts on this process."""
        return self.weights.up.num_own_copies

    @property
    def is_sharded(self) -> bool:
        """Whether other experts are on other processes."""
        return self.weights.up.mesh is not None

    def shard(self, mesh: DeviceMesh) -> None:
        """Spread the experts over the processes of `mesh`. Raises PADNetError if they cannot be spread evenly."""
        for weight in self.weights:
            if weight is not None:
                weight.shard(mesh)

    @property
    def has_static_units(self) -> bool:
        """Whether a static network stands beside the experts."""
        return self.weights.has_static_units

    def unit_group(self) -> MaskGroup:
        """Its weights, as they share a mask when the granularity is "unit"."""
        up, up_bias, down, down_bias = self.weights
        weights = (up, down) if up_bias is None else (up, up_bias, down)
        return MaskGroup(weights, () if down_bias is None else (down_bias,))

    def work_of_token(self, chosen: int) -> MultiplyAdds:
        """Per token: the projections of every expert `chosen`, as far as it has them, and of static neurons once."""
        up, down = self.weights.up, self.weights.down
        of_all = up.shape.numel() + down.shape.numel()
        if self.is_static:
            return MultiplyAdds(of_all, chosen * of_all, of_all)
        inner = down.shape[1]
        dynamic = up.num_dynamic if self.has_static_units or up.leaves_out else inner
        static = 0 if up.leaves_out else inner - dynamic
        current = of_all // inner * (chosen * dynamic + static)
        return MultiplyAdds(of_all, chosen * of_all, current)

    def forward(self, hidden: Tensor, index: Tensor, weights: Tensor) -> Tensor:
        """hidden (T, H), index (T, K) chosen experts, weights (T, K) gates -> (T, H)."""
        if self.is_static:
            return self._gated_static(self.static_network(hidden), weights)
        return call_inside(self._modules_of_weights(), partial(self._mixture, hidden, index, weights))

    def _mixture(self, hidden: Tensor, index: Tensor, weights: Tensor) -> Tensor:
        hidden = in_autocast_dtype(hidden)
        dtype, own = hidden.dtype, self.weights
        if own.has_static_units:
            return self._units(own, hidden, index, weights)
        if self._implementation(hidden.device) is experts_loop:
            up_bias, down_bias = (None if bias is None else bias.build() for bias in (own.up_bias, own.down_bias))
            return self._routed((own.up, up_bias, own.down, down_bias), hidden, index, weights)
        # Autograd keeps nothing of what is built when it is built again in the backward pass, so its memory can serve
        # the next layer.
        is_kept = torch.is_grad_enabled() and not self.rebuild_in_backward
        named = own._asdict().items()
        built = {n: w.build(None if is_kept else f"built {n}").to(dtype) for n, w in named if w is not None}
        with self._rebuilt(built):
            return self._routed(tuple(map(built.get, ExpertWeights._fields)), hidden, index, weights)

    def static_network(self, hidden: Tensor) -> Tensor:
        """What every expert computes when nothing is dynamic, (T, H) -> (T, H)."""
        return call_inside(self._modules_of_weights(), partial(self._static_network, hidden))

    def _static_network(self, hidden: Tensor) -> Tensor:
        hidden = in_autocast_dtype(hidden)
        up, up_bias, down, down_bias = (None if w is None else w.static.to(hidden.dtype) for w in self.weights)
        return F.linear(self._inner(F.linear(hidden, up, up_bias)), down, down_bias)

    def _inner(self, outputs: Tensor) -> Tensor:
        """Inner activations (T, I) of the outputs of the first projection, (T, I) or (T, 2I)."""
        if not self.gated:
            return self.dropout(self.act_fn(outputs))
        gate, up = outputs.chunk(2, dim=-1)
        return self.dropout(self.act_fn(gate) * up)

    def _gated_static(self, static: Tensor, weights: Tensor) -> Tensor:
        """The output of a static network (T, H) times the sum of each token's gates (T, K)."""
        if not self.gates_sum_to_one:
            return static * weights.sum(dim=-1, keepdim=True).to(static.dtype)
        if self.is_sharded:
            # These gates are those of this process's experts, and what the processes give is added up, so the static
            # network is in the sum once. As a token's gates sum to one, it has no gradient to give them.
            return static * weights.detach().sum(dim=-1, keepdim=True).to(static.dtype)
        return static

    def _units(self, own: ExpertWeights, hidden: Tensor, index: Tensor, weights: Tensor) -> Tensor:
        """The unit partition. Scale factors go to the smallest tensor: weights or tokens, biases, gates."""
        dtype = hidden.dtype
        up, up_bias, down, down_bias = own
        (up_d, up_s), (down_d, down_s) = up.scales(), down.scales()
        bias_dynamic = bias_static = None
        if up_bias is not None:
            bias_d, bias_s = up_bias.scales()
            bias_dynamic = (up_bias.own_dynamic * bias_d).to(dtype)
            bias_static = (up_bias.shared_static * bias_s).to(dtype)
        up_static, inputs = _scale_smaller(up.shared_static, hidden, up_s)
        inner = self._inner(F.linear(inputs, up_static.to(dtype), bias_static))
        if _is_smaller(down.shared_static, hidden):
            static = F.linear(inner, (down.shared_static * down_s).to(dtype))
        else:
            static = F.linear(inner, down.shared_static.to(dtype)) * down_s.to(dtype)
        up_dynamic, inputs = _scale_smaller(up.own_dynamic, hidden, up_d)
        down_dynamic = down.own_dynamic
        if self._implementation(hidden.device) is not experts_loop:  # that one casts the experts which are chosen
            up_dynamic, down_dynamic = up_dynamic.to(dtype), down_dynamic.to(dtype)
        bias_down = None if down_bias is None else (down_bias.build() / down_d).to(dtype)
        dynamic = (up_dynamic, bias_dynamic, down_dynamic, bias_down)
        return self._gated_static(static, weights) + self._routed(dynamic, inputs, index, weights * down_d)

    def _routed(
        self, tensors: tuple[Tensor | PADWeight | None, ...], hidden: Tensor, index: Tensor, weights: Tensor
    ) -> Tensor:
        """The experts' part of the output; `tensors` are the weights in the order of ExpertWeights."""
        experts = BuiltExperts(*tensors, self._inner, self.gated, self.num_experts, _is_expert_parallel=self.is_sharded)
        return self._implementation(hidden.device)(experts, hidden, index, weights.to(hidden.dtype))

    def _implementation(self, device: torch.device) -> Callable[..., Tensor]:
        name = self.implementation
        if name == BY_DEVICE:
            aligned = all(size % 8 == 0 for size in self.weights.down.shape)  # grouped_mm needs rows of whole 16 bytes
            name = "eager" if device.type == "cpu" or not aligned else "grouped_mm"
        return ALL_EXPERTS_FUNCTIONS.get_interface(name, experts_loop)

    def _rebuilt(self, built: dict[str, Tensor]) -> AbstractContextManager:
        packed = {name: w for name, w in self.weights._asdict().items() if w is not None and w.phi is not None}
        if not (packed and self.rebuild_in_backward and torch.is_grad_enabled()) or torch.compiler.is_compiling():
            return nullcontext()  # compilers choose for themselves what to work out again
        return RebuiltInBackward([(built[name], weight) for name, weight in packed.items()])
