"""PAD models in vLLM: transformers' own forwards on vLLM's attention, with the head that the stock class has.

vLLM puts all requests of a step into one row of tokens, without a mask. What mixes tokens outside of attention would
mix requests: such models are refused.

Axis letters: T tokens or requests, H hidden, C classes.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModelForSequenceClassification, AutoModelForTokenClassification
from transformers.modeling_outputs import BaseModelOutputWithPoolingAndCrossAttentions
from vllm.config import VllmConfig
from vllm.model_executor.layers.pooler import DispatchPooler
from vllm.model_executor.layers.pooler.seqwise import get_seq_pooling_method
from vllm.model_executor.layers.pooler.seqwise.poolers import pooler_for_classify
from vllm.model_executor.layers.pooler.tokwise import pooler_for_token_classify
from vllm.model_executor.models.interfaces_base import VllmModelForPooling
from vllm.model_executor.models.transformers.base import Base
from vllm.model_executor.models.transformers.causal import CausalMixin

from padnet_hf.errors import PADCheckpointError, PADNetError
from padnet_hf.method.layer import pad_weights
from padnet_hf.models.moe_config import PADMoEConfig

_MASK = ".mask_bits"


class PADServed(Base):
    """A PAD model as vLLM builds it, without values, and fills it.

    Not by vLLM's own class for mixtures, which takes a module called `experts` for gated SiLU experts of its own,
    whatever that computes.
    """

    def __init__(self, *, vllm_config: VllmConfig, prefix: str = "") -> None:
        _check(vllm_config)
        super().__init__(vllm_config=vllm_config, prefix=prefix)
        self.model.eval()
        for weight in pad_weights(self.model).values():  # vLLM takes care of parameters alone
            if weight.mask_bits is not None:
                weight.mask_bits = torch.empty_like(weight.mask_bits, device=self.device_config.device)
        embeddings = getattr(self.model, "embeddings", None)
        shifted = hasattr(embeddings, "create_position_ids_from_input_ids")  # RoBERTa and what has its embeddings
        self.first_position = self.config.pad_token_id + 1 if shifted else 0

    def forward(self, input_ids: Tensor | None, positions: Tensor, *args: Any, **kwargs: Any) -> Any:
        """Hidden states (T, H) of all requests in one row."""
        return super().forward(input_ids, positions + self.first_position, *args, **kwargs)

    def load_weights(self, weights: Iterable[tuple[str, Tensor]]) -> set[str]:
        """The names of what was loaded, masks included. Raises PADCheckpointError if one is missing or damaged."""
        buffers = {name: buffer for name, buffer in self.named_buffers() if name.endswith(_MASK)}
        loaded: set[str] = set()

        def without_masks() -> Iterator[tuple[str, Tensor]]:
            for name, tensor in weights:
                if not name.endswith(_MASK):
                    yield name, tensor
                    continue
                ((own, tensor),) = self.hf_to_vllm_mapper.apply([(name, tensor)])
                buffers[own].copy_(tensor)
                loaded.add(own)

        found = super().load_weights(without_masks())
        if missing := sorted(buffers.keys() - loaded):
            raise PADCheckpointError(f"the checkpoint has no {missing[0]}: get it again.")
        self.model.check_masks()
        return found | loaded


class PADCausalLM(PADServed, CausalMixin):
    """Text after text."""


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

    def _make_pooler(self) -> nn.Module:
        pooling = get_seq_pooling_method(self.default_seq_pooling_type)
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
    """What is not served: another head, or none."""

    def __init__(self, *, vllm_config: VllmConfig, prefix: str = "") -> None:
        raise PADNetError(
            f"vLLM does not serve {vllm_config.model_config.architectures[0]}: language models and classifiers of "
            "texts and tokens are served."
        )


class _Given(nn.Module):
    """In the place of a head's bare model: what that has computed already."""

    def __init__(self, base: nn.Module) -> None:
        super().__init__()
        self._base = (base,)  # not as a module of its own

    def forward(self, *args: Any, inputs_embeds: Tensor, **kwargs: Any) -> BaseModelOutputWithPoolingAndCrossAttentions:
        (base,), pooled = self._base, None
        if hasattr(base, "pooler_activation"):  # ALBERT's
            pooled = base.pooler_activation(base.pooler(inputs_embeds[:, 0]))
        elif getattr(base, "pooler", None) is not None:
            pooled = base.pooler(inputs_embeds)
        return BaseModelOutputWithPoolingAndCrossAttentions(last_hidden_state=inputs_embeds, pooler_output=pooled)


def _check(vllm_config: VllmConfig) -> None:
    """Raise PADNetError for what would be wrong, or what nobody has tested."""
    config = vllm_config.model_config.hf_config
    if not isinstance(config, PADMoEConfig):
        raise PADNetError(f"vLLM does not serve models of type {config.model_type!r}: those with experts are served.")
    if config.seam.is_shared:
        raise PADNetError(
            f"vLLM does not serve models of type {config.model_type!r}: it needs attention of its own in every layer, "
            "but their layers are one."
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
