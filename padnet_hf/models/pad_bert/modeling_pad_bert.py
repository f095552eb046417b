"""PAD-BERT: transformers' BERT with dynamic feed-forward layers. The encoder and the bare model.

Axis letters: B batch, S sequence, H hidden.
"""

from typing import Any, Unpack

import torch
from torch import Tensor, nn
from transformers.initialization import normal_, zeros_
from transformers.modeling_outputs import BaseModelOutputWithPoolingAndCrossAttentions
from transformers.models.bert.modeling_bert import (
    BertEmbeddings,
    BertEncoder,
    BertLayer,
    BertModel,
    BertPooler,
    BertPreTrainedModel,
    BertSelfAttention,
)
from transformers.utils.generic import TransformersKwargs
from transformers.utils.output_capturing import OutputRecorder

from padnet_hf.errors import PADNetError
from padnet_hf.layers.experts import BY_DEVICE
from padnet_hf.layers.feed_forward import PADFeedForward
from padnet_hf.layers.router import NoisyTopKRouter
from padnet_hf.models.pad_bert.configuration_pad_bert import PADBertConfig
from padnet_hf.models.pad_model import PADModelMixin


class PADBertLayer(BertLayer):
    """A BERT layer whose feed-forward network is dynamic, if the configuration says so for this layer."""

    def __init__(self, config: PADBertConfig, layer_idx: int) -> None:
        super().__init__(config, layer_idx=layer_idx)
        self.feed_forward: PADFeedForward | None = None
        if config.is_moe_layer(layer_idx):
            del self.intermediate, self.output.dense
            self.feed_forward = PADFeedForward(config)

    def forward(
        self,
        hidden_states: Tensor,
        attention_mask: Tensor | None = None,
        *unused: None,
        token_mask: Tensor | None = None,
        output_balance_loss: bool = False,
        **kwargs: Any,
    ) -> Tensor:
        """hidden_states (B, S, H) -> (B, S, H); token_mask (B, S) is zero for padding."""
        attended, _ = self.attention(hidden_states, attention_mask, **_for_attention(kwargs))
        if self.feed_forward is None:
            return self.feed_forward_chunk(attended)
        # Activation checkpointing frees the built weights between forward and backward by itself.
        self.feed_forward.experts.rebuild_in_backward = not self.gradient_checkpointing
        output = self.feed_forward(attended, token_mask, output_balance_loss)
        return self.output.LayerNorm(self.output.dropout(output) + attended)


def _for_attention(kwargs: dict[str, Any]) -> dict[str, Any]:
    """Without the decoder's arguments, which BertEncoder always hands on."""
    return {key: value for key, value in kwargs.items() if not key.startswith("encoder_")}


class PADBertEncoder(BertEncoder):
    """BERT's encoder over PADBertLayers."""

    def __init__(self, config: PADBertConfig) -> None:
        nn.Module.__init__(self)
        self.config = config
        self.layer = nn.ModuleList(PADBertLayer(config, layer_idx=i) for i in range(config.num_hidden_layers))


class PADBertPreTrainedModel(PADModelMixin, BertPreTrainedModel):
    """Base class of the PAD-BERT models."""

    config_class = PADBertConfig
    config: PADBertConfig
    accepts_loss_kwargs = False
    dense_names = {
        "feed_forward.experts.up_proj": "intermediate.dense.weight",
        "feed_forward.experts.up_proj_bias": "intermediate.dense.bias",
        "feed_forward.experts.down_proj": "output.dense.weight",
        "feed_forward.experts.down_proj_bias": "output.dense.bias",
    }
    _no_split_modules = ["BertEmbeddings", "PADBertLayer"]
    _can_record_outputs = {
        "hidden_states": PADBertLayer,
        "attentions": BertSelfAttention,
        "router_logits": OutputRecorder(NoisyTopKRouter, index=0),
        "balance_loss": OutputRecorder(NoisyTopKRouter, index=3),
    }

    @classmethod
    def _can_set_experts_implementation(cls) -> bool:
        return True  # transformers searches the source for its own decorator

    def get_correct_experts_implementation(self, requested_experts: str | None) -> str:
        """The implementation asked for, or the default: "pad".

        Raises PADNetError for "grouped_mm" with sizes whose rows are not multiples of 16 bytes in float32.
        """
        sizes = (self.config.hidden_size, self.config.intermediate_size)
        if requested_experts == "grouped_mm" and any(size % 4 for size in sizes):
            raise PADNetError(
                f"experts_implementation='grouped_mm' needs hidden_size and intermediate_size to be multiples of 4 "
                f"(8 in half precision), but they are {sizes}; use experts_implementation='eager'."
            )
        return super().get_correct_experts_implementation(requested_experts or BY_DEVICE)

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, NoisyTopKRouter):
            normal_(module.weight, std=self.config.router_init_std)
            if module.noise_weight is not None:
                zeros_(module.noise_weight)


class PADBertModel(PADBertPreTrainedModel, BertModel):
    """The bare PAD-BERT: hidden states, and a pooled first token."""

    dense_class = BertModel

    def __init__(self, config: PADBertConfig, add_pooling_layer: bool = True) -> None:
        BertPreTrainedModel.__init__(self, config)
        self.gradient_checkpointing = False
        self.embeddings = BertEmbeddings(config)
        self.encoder = PADBertEncoder(config)
        self.pooler = BertPooler(config) if add_pooling_layer else None
        self._make_room()
        self.post_init()

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> tuple[Tensor, ...] | BaseModelOutputWithPoolingAndCrossAttentions:
        """BertModel's forward; the layers are told which tokens are padding, if attention_mask is (B, S)."""
        token_mask = attention_mask if attention_mask is not None and attention_mask.dim() == 2 else None
        return super().forward(
            input_ids=input_ids,
            attention_mask=attention_mask,
            token_type_ids=token_type_ids,
            position_ids=position_ids,
            inputs_embeds=inputs_embeds,
            token_mask=token_mask,
            **kwargs,
        )


__all__ = ["PADBertModel", "PADBertPreTrainedModel"]
