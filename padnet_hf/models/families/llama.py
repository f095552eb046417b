"""Llama, and what has its form."""

from huggingface_hub.dataclasses import strict
from transformers import LlamaConfig
from transformers.models.llama import modeling_llama as stock

from padnet_hf.models.families.llama_layers import SEAM
from padnet_hf.models.moe_config import PADMoEConfig
from padnet_hf.models.moe_model import PADMoEMixin
from padnet_hf.models.registry import register_family


@strict
class PADLlamaConfig(PADMoEConfig, LlamaConfig):
    """Llama whose feed-forward layers are mixtures of experts; fields: LlamaConfig's and PADMoEConfig's."""

    model_type = "pad_llama"
    dense_class = LlamaConfig
    seam = SEAM


class PADLlamaModel(PADMoEMixin, stock.LlamaModel):
    """The bare model."""


class PADLlamaForCausalLM(PADMoEMixin, stock.LlamaForCausalLM):
    """The next token, and text by `generate`."""


class PADLlamaForQuestionAnswering(PADMoEMixin, stock.LlamaForQuestionAnswering):
    """The start and the end of an answer in the text."""


class PADLlamaForSequenceClassification(PADMoEMixin, stock.LlamaForSequenceClassification):
    """A text or a pair of texts to a class, or to a number, at its last token."""


class PADLlamaForTokenClassification(PADMoEMixin, stock.LlamaForTokenClassification):
    """Every token to a class."""


register_family(PADLlamaConfig, globals())
