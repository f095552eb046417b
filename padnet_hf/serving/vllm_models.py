"""PAD models in vLLM: transformers' own forwards on vLLM's attention, with the head that the stock class has.

vLLM puts all requests of a step into one row of tokens, without a mask. What mixes tokens outside of attention would
mix requests: such models are refused.

Axis letters: T tokens or requests, H hidden, C classes.
"""

from collections.abc import Iterable, Iterator
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModelForSequenceClassification, AutoModelForTokenClassification
from transformers.modeling_outputs import BaseModelOutputWithPoolingAndCrossAttentions
from vllm.config import VllmConfig
from vllm.logger import init_logger
from vllm.model_executor.layers.pooler import DispatchPooler
from vllm.model_executor.layers.pooler.seqwise import get_seq_pooling_method
from vllm.model_executor.layers.pooler.seqwise.poolers import pooler_for_classify
from vllm.model_executor.layers.pooler.tokwise import pooler_for_token_classify
from vllm.model_executor.models.interfaces_base import VllmModelForPooling
from vllm.model_executor.models.transformers.base import Base
from vllm.model_executor.models.transformers.causal import CausalMixin
from vllm.model_executor.models.transformers.moe import MoEMixin
from vllm.model_executor.models.utils import extract_layer_index

from padnet_hf.errors import PADCheckpointError, PADNetError
from padnet_hf.layers.feed_forward import PADFeedForward
from padnet_hf.method.layer import pad_layers, pad_weights
from padnet_hf.models.moe_config import PADMoEConfig
from padnet_hf.serving.vllm_attention import own_attention, prepare_attention
from padnet_hf.serving.vllm_fused import fuse, fused_weights, fusible, sizes

logger = init_logger(__name__)

_MASK = ".mask_bits"


class PADServed(MoEMixin):
    """A PAD model as vLLM builds it, without values, and fills it.

    Where vLLM's fused experts can hold all of its layers, they do. Elsewhere they are kept away: they would take any
    module called `experts` for gated SiLU experts, whatever that computes.
    """

    def __init__(self, *, vllm_config: VllmConfig, prefix: str = "") -> None:
        _check(vllm_config)
        self.fused: dict[str, PADFeedForward] = {}
        super().__init__(vllm_config=vllm_config, prefix=prefix)
        self.model.eval()
        for weight in pad_weights(self.model).values():  # vLLM takes care of parameters alone
            if weight.mask_bits is not None:
                weight.mask_bits = torch.empty_like(weight.mask_bits, device=self.device_config.device)
        self.takes_token_types = "token_type_ids" in signature(self.model.forward).parameters
        embeddings = getattr(self.model, "embeddings", None)
        shifted = hasattr(embeddings, "create_position_ids_from_input_ids")  # RoBERTa and what has its embeddings
        self.first_position = self.config.pad_token_id + 1 if shifted else 0

    def recursive_replace(self) -> None:
        """vLLM's step of putting modules of its own into the model."""
        prepare_attention(self.model)
        self.fused = fusible(self.model, self.tp_group.world_size)
        if not self.fused:
            self._warn_of_whole_experts()
            Base.recursive_replace(self)
            return
        fuse(self.model, self.fused)
        of_layers = {extract_layer_index(name): sizes(layer)[0] for name, layer in self.fused.items()}
        self.config.moe_intermediate_size = [of_layers.get(n, 0) for n in range(self.config.num_hidden_layers)]
        self.config.norm_topk_prob = True
        super().recursive_replace()

    def _warn_of_whole_experts(self) -> None:
        if self.tp_group.world_size > 1:
            size = sum(p.numel() for layer in pad_layers(self.model).values() for p in layer.parameters())
            logger.warning_once(
                "The experts are whole on every one of %d processes, %.0f MB of each: tensor parallelism spreads those "
                "of models with gated SiLU experts, fully dynamic or partitioned by unit.",
                self.tp_group.world_size,
                size * self.model_config.dtype.itemsize / 1e6,
            )

    def _create_attention_instances(self, prefix: str = "") -> None:
        with own_attention(self):
            super()._create_attention_instances(prefix)

    def forward(self, input_ids: Tensor | None, positions: Tensor, *args: Any, **kwargs: Any) -> Any:
        """Hidden states (T, H) of all requests in one row."""
        token_types = kwargs.pop("token_type_ids", None)  # (T,), of pairs of texts
        if token_types is not None and self.takes_token_types:
            kwargs["token_type_ids"] = token_types[None].long()
        return super().forward(input_ids, positions + self.first_position, *args, **kwargs)

    def load_weights(self, weights: Iterable[tuple[str, Tensor]]) -> set[str]:
        """The names of what was loaded, masks included. Raises PADCheckpointError if one is missing or damaged."""
        buffers = {name: buffer for name, buffer in self.named_buffers() if name.endswith(_MASK)}
        loaded: set[str] = set()

        renames = self.hf_to_vllm_mapper.get_rename_mapper()

        def without_masks() -> Iterator[tuple[str, Tensor]]:
            for name, tensor in renames.apply(weights):
                if name.endswith(_MASK):
                    buffers[name].copy_(tensor)
                    loaded.add(name)
                else:
                    yield name, tensor

        fused = {f"model.{name}": layer for name, layer in self.fused.items()}
        found = super().load_weights(fused_weights(without_masks(), fused))
        if missing := sorted(buffers.keys() - loaded):
            raise PADCheckpointError(f"the checkpoint has no {missing[0]}: get it again.")
        if not self.fused:
            self.model.check_masks()
        return found | loaded


class PADCausalLM(PADServed, CausalMixin):
    """Text after text."""


class PADEmbedder(PADServed, VllmModelForPooling):
    """A text to numbers, or every token."""

    is_pooling_model = True
    default_seq_pooling_type = "CLS"

    def __init__(self, *, vllm_config: VllmConfig, prefix: str = "") -> None:
        super().__init__(vllm_config=vllm_config, prefix=prefix)
        self.pooler = DispatchPooler.for_embedding(self.model_config.pooler_config)


class PADCausalEmbedder(PADEmbedder):
    """The same by a language model, at its last token."""

    default_seq_pooling_type = "LAST"


class _Classifier(PADServed, VllmModelForPooling):
    """Hidden states to probabilities, by the whole head of the stock class."""

    is_pooling_model = True

    def __init__(self, *, vllm_config: VllmConfig, prefix: str = "") -> None:
        super().__init__(vllm_config=vllm_config, prefix=prefix)
        with torch.device("meta"):
            head = self.auto_class.from_config(self.config, dtype=self.model_config.head_dtype).eval()
        base = head.base_model
        if getattr(base, "pooler", None) is None and hasattr(self.model, "pooler"):
            self.model.pooler = None
        setattr(head, head.base_model_prefix, _Given(self.model))
        self.init_parameters(head, dtype=self.model_config.head_dtype)
        for name, module in head.named_children():
            if name != head.base_model_prefix:
                setattr(self, name, module)  # by the names of the checkpoint
        self._head = (head,)  # not as a module of its own
        self.pooler = self._make_pooler()

    def _make_pooler(self) -> nn.Module:
        raise NotImplementedError

    def _classify(self, hidden: Tensor) -> Tensor:
        """Hidden states (T, H) -> logits (T, C), of each by itself: to the stock head it is a text of one token."""
        logits = self._head[0](inputs_embeds=hidden[:, None]).logits
        return logits[:, 0] if logits.dim() == 3 else logits


class PADSequenceClassifier(_Classifier):
    """A text to a class, by an encoder."""

    auto_class = AutoModelForSequenceClassification
    default_seq_pooling_type = "CLS"
    score_type = "cross-encoder"  # of pairs, where it has one label

    def _make_pooler(self) -> nn.Module:
        is_mean = getattr(self.config, "classifier_pooling", None) == "mean"  # ModernBERT's
        pooling = get_seq_pooling_method("MEAN" if is_mean else self.default_seq_pooling_type)
        config = self.model_config.pooler_config
        return DispatchPooler({"classify": pooler_for_classify(config, pooling=pooling, classifier=self._classify)})


class PADCausalSequenceClassifier(PADSequenceClassifier):
    """A text to a class, by a language model at its last token."""

    default_seq_pooling_type = "LAST"


class PADTokenClassifier(_Classifier):
    """Every token to a class, by an encoder."""

    auto_class = AutoModelForTokenClassification
    default_seq_pooling_type = "CLS"  # by which vLLM knows that tokens see those after them

    def _make_pooler(self) -> nn.Module:
        config = self.model_config.pooler_config
        return DispatchPooler({"token_classify": pooler_for_token_classify(config, classifier=self._classify)})


class PADCausalTokenClassifier(PADTokenClassifier):
    """Every token to a class, by a language model."""

    default_seq_pooling_type = "LAST"


class PADRefused(VllmModelForPooling, Base):
    """What is not served: another head, or images."""

    def __init__(self, *, vllm_config: VllmConfig, prefix: str = "") -> None:
        raise PADNetError(
            f"vLLM does not serve {vllm_config.model_config.architectures[0]}: language models, classifiers of texts "
            "and tokens, and models of text without a head, for embeddings, are served."
        )


class _Given(nn.Module):
    """In the place of a head's bare model: what that has computed already."""

    def __init__(self, base: nn.Module) -> None:
        super().__init__()
        self._base = (base,)  # not as a module of its own

    def forward(self, *args: Any, inputs_embeds: Tensor, **kwargs: Any) -> BaseModelOutputWithPoolingAndCrossAttentions:
        (base,) = self._base
        pooled, pooler = None, getattr(base, "pooler", None)
        if pooler is not None:
            hidden = inputs_embeds.to(next(pooler.parameters()).dtype)  # heads are in float32, whatever the model is
            is_albert = hasattr(base, "pooler_activation")
            pooled = base.pooler_activation(pooler(hidden[:, 0])) if is_albert else pooler(hidden)
            pooled = pooled.to(inputs_embeds.dtype)
        return BaseModelOutputWithPoolingAndCrossAttentions(last_hidden_state=inputs_embeds, pooler_output=pooled)


def _check(vllm_config: VllmConfig) -> None:
    """Raise PADNetError for what would be wrong, or what nobody has tested."""
    config = vllm_config.model_config.hf_config
    if not isinstance(config, PADMoEConfig):
        raise PADNetError(
            f"vLLM does not serve models of type {config.model_type!r}: those whose dense layers became experts are "
            "served, and language models as what padnet export --format transformers makes of them."
        )
    for name, value in (
        ("quantization", vllm_config.quant_config is not None),
        ("pipeline_parallel_size", vllm_config.parallel_config.pipeline_parallel_size > 1),
    ):
        if value:
            raise PADNetError(f"{name} is not tested with PAD models in vLLM: leave it out.")

    _check_tokens_apart(config)


def _check_tokens_apart(config: PADMoEConfig) -> None:
    """Raise PADNetError for a model in which tokens of one request would reach another's."""
    with torch.device("meta"):
        model = config.models["AutoModel"](config)
    for name, module in model.named_modules():
        if "Conv" in type(module).__name__:
            raise PADNetError(
                f"vLLM puts all requests into one row, in which {name} would mix the end of one with the beginning of "
                f"the next: this {type(model).__name__} is not served."
            )
