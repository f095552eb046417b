"""Qwen3-MoE, trained as a mixture of experts; layers may be dense."""

from huggingface_hub.dataclasses import strict
from transformers import Qwen3MoeConfig
from transformers.models.qwen3_moe import modeling_qwen3_moe as stock

from padnet_hf.models.experts_seam import Experts
from padnet_hf.models.mixture_config import PADMixtureConfig
from padnet_hf.models.mixture_model import PADMixtureMixin
from padnet_hf.models.registry import register_family


@strict
class PADQwen3MoeConfig(PADMixtureConfig, Qwen3MoeConfig):
    """Qwen3-MoE with its own experts; fields: Qwen3MoeConfig's and PADMixtureConfig's."""

    model_type = "pad_qwen3_moe"
    dense_class = Qwen3MoeConfig
    seam = Experts("layers.*.mlp.experts")


class PADQwen3MoeModel(PADMixtureMixin, stock.Qwen3MoeModel):
    """The bare model."""


class PADQwen3MoeForCausalLM(PADMixtureMixin, stock.Qwen3MoeForCausalLM):
    """The next token, and text by `generate`."""


class PADQwen3MoeForQuestionAnswering(PADMixtureMixin, stock.Qwen3MoeForQuestionAnswering):
    """The start and the end of an answer in the text."""


class PADQwen3MoeForSequenceClassification(PADMixtureMixin, stock.Qwen3MoeForSequenceClassification):
    """A text or a pair of texts to a class, or to a number, at its last token."""


class PADQwen3MoeForTokenClassification(PADMixtureMixin, stock.Qwen3MoeForTokenClassification):
    """Every token to a class."""


register_family(PADQwen3MoeConfig, globals())
