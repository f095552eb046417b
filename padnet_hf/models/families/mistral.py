"""Mistral."""

from huggingface_hub.dataclasses import strict
from transformers import MistralConfig
from transformers.models.mistral import modeling_mistral as stock

from padnet_hf.models.families.llama_layers import SEAM
from padnet_hf.models.moe_config import PADMoEConfig
from padnet_hf.models.moe_model import PADMoEMixin
from padnet_hf.models.registry import register_family


@strict
class PADMistralConfig(PADMoEConfig, MistralConfig):
    """Mistral whose feed-forward layers are mixtures of experts; fields: MistralConfig's and PADMoEConfig's."""

    model_type = "pad_mistral"
    dense_class = MistralConfig
    seam = SEAM


class PADMistralModel(PADMoEMixin, stock.MistralModel):
    """The bare model."""


class PADMistralForCausalLM(PADMoEMixin, stock.MistralForCausalLM):
    """The next token, and text by `generate`."""


class PADMistralForQuestionAnswering(PADMoEMixin, stock.MistralForQuestionAnswering):
    """The start and the end of an answer in the text."""


class PADMistralForSequenceClassification(PADMoEMixin, stock.MistralForSequenceClassification):
    """A text or a pair of texts to a class, or to a number, at its last token."""


class PADMistralForTokenClassification(PADMoEMixin, stock.MistralForTokenClassification):
    """Every token to a class."""


register_family(PADMistralConfig, globals())
