"""Stock architectures that a PAD language model partitioned by unit is equal to, each a configuration and its tensors.

Every one has the attention of the model and a mixture of experts with a shared expert in place of its feed-forward
network. What a stock model has more is set so that it does nothing.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor
from transformers import (
    GraniteMoeSharedConfig,
    GraniteMoeSharedForCausalLM,
    MixtralForCausalLM,
    OlmoeForCausalLM,
    PreTrainedConfig,
    PreTrainedModel,
    Qwen2MoeConfig,
    Qwen2MoeForCausalLM,
    Qwen3MoeForCausalLM,
    Qwen3NextConfig,
    Qwen3NextForCausalLM,
)

from padnet_hf.errors import PADNetError
from padnet_hf.export.stock_parts import Parts

State = dict[str, Tensor]

_COMMON = (
    "vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "hidden_act",
    "max_position_embeddings", "initializer_range", "rms_norm_eps", "use_cache", "tie_word_embeddings",
    "rope_parameters", "attention_dropout", "pad_token_id", "bos_token_id", "eos_token_id", "num_experts_per_tok",
)  # fmt: skip
"""Fields that mean the same in all of these configurations."""


class StockTarget(ABC):
    """One architecture.

    Attributes:
        name: its model type, and what `--target` calls it.
        model_class: of transformers.
        families: dense model types that it can hold.
        has_dense_layers: whether some layers may stay dense.
        has_own_head_size: whether heads may be of another size than hidden_size / num_attention_heads.
    """

    name: ClassVar[str]
    model_class: ClassVar[type[PreTrainedModel]]
    families: ClassVar[tuple[str, ...]]
    has_dense_layers: ClassVar[bool] = False
    has_own_head_size: ClassVar[bool] = False

    def check(self, config: PreTrainedConfig, parts: Mapping[int, Parts]) -> None:
        """Raise PADNetError if a model of this configuration does not fit."""
        for what, is_so, remedy in self.obstacles(config):
            if is_so:
                raise PADNetError(f"{self.name} cannot hold this model, which has {what}: {remedy}.")
        dense = config.num_hidden_layers - len(parts)
        if dense and not self.has_dense_layers:
            raise PADNetError(
                f"{self.name} cannot hold this model, {dense} of whose {config.num_hidden_layers} layers are dense "
                "(moe_layers): choose --target qwen2_moe, which can."
            )

    def obstacles(self, config: PreTrainedConfig) -> list[tuple[str, bool, str]]:
        """What the model must not have: in words, whether it has, and the remedy."""
        window = getattr(config, "sliding_window", None)
        is_sliding = getattr(config, "use_sliding_window", True) and window is not None
        has_biases = bool(getattr(config, "attention_bias", False))
        size, usual = _head_dim(config), config.hidden_size // config.num_attention_heads
        return [
            ("biases in its attention's output", has_biases, "no stock target has a place for them"),
            (
                f"heads of {size} where hidden_size / num_attention_heads is {usual}",
                size != usual and not self.has_own_head_size,
                "no stock target of its family has heads of their own size",
            ),
            (
                f"a sliding window of {window} tokens over {config.max_position_embeddings} positions",
                is_sliding and window < config.max_position_embeddings,
                "no stock target keeps it; use the model within its window (max_position_embeddings), or serve it "
                "with padnet_hf",
            ),
            (
                "gates that do not sum to one (norm_topk_prob=False)",
                not getattr(config, "norm_topk_prob", True),
                "shared experts of stock models are not multiplied by their sum; to_dense() gives a stock mixture with "
                "all experts in full",
            ),
        ]

    @abstractmethod
    def config(self, config: PreTrainedConfig, parts: Mapping[int, Parts]) -> PreTrainedConfig:
        """The stock configuration."""

    @abstractmethod
    def layer(self, prefix: str, parts: Parts) -> State:
        """The tensors of a PAD layer, under the names of the decoder layer that begins with `prefix`."""

    def attention(self, name: str, tensor: Tensor, config: PreTrainedConfig) -> Tensor:
        """A tensor outside of PAD layers, as this architecture has it."""
        return tensor

    def added(self, config: PreTrainedConfig, state: State) -> State:
        """Tensors that only this architecture has."""
        return {}


def _common(config: PreTrainedConfig) -> dict[str, Any]:
    fields = {name: getattr(config, name) for name in _COMMON if hasattr(config, name)}
    return fields | {"dtype": config.dtype, "output_router_logits": False}


class GraniteMoeShared(StockTarget):
    """GraniteMoeShared with multipliers of one, and heads as wide as the hidden size says."""

    name = "granitemoeshared"
    model_class = GraniteMoeSharedForCausalLM
    families = ("llama", "mistral", "mixtral")

    def config(self, config: PreTrainedConfig, parts: Mapping[int, Parts]) -> PreTrainedConfig:
        dynamic, static = next(iter(parts.values())).sizes
        return GraniteMoeSharedConfig(
            **_common(config),
            num_local_experts=config.num_experts,
            intermediate_size=dynamic,
            shared_intermediate_size=static,
            attention_multiplier=_head_dim(config) ** -0.5,
            embedding_multiplier=1.0,
            residual_multiplier=1.0,
            logits_scaling=1.0,
        )

    def layer(self, prefix: str, parts: Parts) -> State:
        moe, shared = f"{prefix}block_sparse_moe", f"{prefix}shared_mlp"
        state = {
            f"{moe}.router.weight": parts.router,
            f"{moe}.experts.gate_up_proj": parts.gate_up,
            f"{moe}.experts.down_proj": parts.down,
        }
        if parts.shared_down is not None:
            state[f"{shared}.input_linear.weight"] = torch.cat([parts.shared_gate, parts.shared_up])
            state[f"{shared}.output_linear.weight"] = parts.shared_down
        return state


def _routed(mlp: str, parts: Parts) -> State:
    """Router and experts of a block with this name, as most of transformers' mixtures call them."""
    return {
        f"{mlp}.gate.weight": parts.router,
        f"{mlp}.experts.gate_up_proj": parts.gate_up,
        f"{mlp}.experts.down_proj": parts.down,
    }


class _GatedSharedExpert(StockTarget):
    """Qwen's mixtures. The gate of their shared expert is one half for weights of zero, so its output is doubled."""

    has_dense_layers = True

    def check(self, config: PreTrainedConfig, parts: Mapping[int, Parts]) -> None:
        super().check(config, parts)
        if next(iter(parts.values())).shared_down is None:
            raise PADNetError(
                f"{self.name} cannot hold this model, in which nothing is static: its shared expert cannot be left out."
                " Partition the model first, or choose --target granitemoeshared if the family can."
            )

    def layer(self, prefix: str, parts: Parts) -> State:
        mlp = f"{prefix}mlp"
        return _routed(mlp, parts) | {
            f"{mlp}.shared_expert.gate_proj.weight": parts.shared_gate,
            f"{mlp}.shared_expert.up_proj.weight": parts.shared_up,
            f"{mlp}.shared_expert.down_proj.weight": 2 * parts.shared_down,
            f"{mlp}.shared_expert_gate.weight": parts.router.new_zeros(1, parts.router.shape[1]),
        }


class Qwen2Moe(_GatedSharedExpert):
    """Qwen2Moe, whose gate of the shared expert is one half for weights of zero, and whose queries have biases."""

    name = "qwen2_moe"
    model_class = Qwen2MoeForCausalLM
    families = ("llama", "mistral", "mixtral", "qwen2")

    def config(self, config: PreTrainedConfig, parts: Mapping[int, Parts]) -> PreTrainedConfig:
        return Qwen2MoeConfig(**_common(config), **_shared_fields(config, parts), qkv_bias=True)

    def added(self, config: PreTrainedConfig, state: State) -> State:
        # vLLM's class has these biases whatever qkv_bias says, and takes what lies in memory if none are there.
        weights = [name for name in state if name.endswith(("q_proj.weight", "k_proj.weight", "v_proj.weight"))]
        biases = {name.replace(".weight", ".bias"): state[name].new_zeros(len(state[name])) for name in weights}
        return {name: bias for name, bias in biases.items() if name not in state}


class Qwen3Next(_GatedSharedExpert):
    """Qwen3Next with full attention everywhere; its output gate is one half for weights of zero."""

    name = "qwen3_next"
    model_class = Qwen3NextForCausalLM
    families = ("qwen3", "qwen3_moe")
    has_own_head_size = True

    def config(self, config: PreTrainedConfig, parts: Mapping[int, Parts]) -> PreTrainedConfig:
        fields = _common(config) | _shared_fields(config, parts)
        fields["rope_parameters"] = {**config.rope_parameters, "partial_rotary_factor": 1.0}
        layers = ["full_attention"] * config.num_hidden_layers
        return Qwen3NextConfig(**fields, head_dim=_head_dim(config), layer_types=layers, partial_rotary_factor=1.0)

    def attention(self, name: str, tensor: Tensor, config: PreTrainedConfig) -> Tensor:
        if name.endswith("norm.weight"):
            return tensor - 1  # its norms add the one
        if name.endswith("o_proj.weight"):
            return 2 * tensor
        if name.endswith("q_proj.weight"):
            heads = tensor.view(config.num_attention_heads, _head_dim(config), -1)
            return torch.cat([heads, torch.zeros_like(heads)], dim=1).view(-1, tensor.shape[1])
        return tensor


class _Itself(StockTarget):
    """A trained mixture whose experts have no shared part: its own architecture, with experts of another width."""

    has_dense_layers = True

    def check(self, config: PreTrainedConfig, parts: Mapping[int, Parts]) -> None:
        if next(iter(parts.values())).shared_down is not None:
            raise PADNetError(
                f"{self.name} cannot hold this model, whose experts have a static part in common: choose another "
                "target, if its family has one, leave units out instead (static_values 'none', masks 'per_copy'), or "
                "take to_dense(), which gives the stock mixture with all experts in full."
            )

    def config(self, config: PreTrainedConfig, parts: Mapping[int, Parts]) -> PreTrainedConfig:
        dense, (width, _) = config.to_dense(), next(iter(parts.values())).sizes
        setattr(
            dense, "moe_intermediate_size" if hasattr(dense, "moe_intermediate_size") else "intermediate_size", width
        )
        return dense

    def layer(self, prefix: str, parts: Parts) -> State:
        return _routed(f"{prefix}mlp", parts)


class Mixtral(_Itself):
    """Mixtral."""

    name = "mixtral"
    model_class = MixtralForCausalLM
    families = ("mixtral",)


class Olmoe(_Itself):
    """OLMoE."""

    name = "olmoe"
    model_class = OlmoeForCausalLM
    families = ("olmoe",)


class Qwen3Moe(_Itself):
    """Qwen3-MoE."""

    name = "qwen3_moe"
    model_class = Qwen3MoeForCausalLM
    families = ("qwen3_moe",)


def _head_dim(config: PreTrainedConfig) -> int:
    return getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads


def _shared_fields(config: PreTrainedConfig, parts: Mapping[int, Parts]) -> dict[str, Any]:
    dynamic, static = next(iter(parts.values())).sizes
    return {
        "num_experts": config.num_experts,
        "norm_topk_prob": True,
        "decoder_sparse_step": 1,
        "intermediate_size": config.intermediate_size,
        "moe_intermediate_size": dynamic,
        "shared_expert_intermediate_size": static,
        "mlp_only_layers": [number for number in range(config.num_hidden_layers) if number not in parts],
    }


_ALL = (GraniteMoeShared, Qwen2Moe, Qwen3Next, Mixtral, Olmoe, Qwen3Moe)
TARGETS: dict[str, StockTarget] = {target.name: target() for target in _ALL}
"""By name; the first one of a family is its default, and where neurons are left out its own architecture."""


def target_for(family: str, name: str | None, *, leaves_out: bool = False) -> StockTarget:
    """The architecture asked for, or the family's default. Raises PADNetError if the family has none of this name.

    leaves_out: whether experts have fewer neurons, and nothing in common.
    """
    able = [target.name for target in TARGETS.values() if family in target.families]
    if not able:
        known = sorted({known for target in TARGETS.values() for known in target.families})
        raise PADNetError(
            f"no stock architecture is known for models of type {family!r}: those of {', '.join(known)} have one. Of a "
            "trained mixture to_dense() gives the stock model, with all experts in full."
        )
    if name is not None and name not in able:
        raise PADNetError(f"the target is {name!r}, but for {family!r} must be one of {', '.join(able)}.")
    return TARGETS[name or (family if leaves_out and family in able else able[0])]
