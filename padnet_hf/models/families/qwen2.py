"""Qwen2 and Qwen2.5, whose attention has biases."""

from huggingface_hub.dataclasses import strict
from transformers import Qwen2Config
from transformers.models.qwen2 import modeling_qwen2 as stock

from padnet_hf.models.families.llama_layers import SEAM
from padnet_hf.models.moe_config import PADMoEConfig
from padnet_hf.models.moe_model import PADMoEMixin
from padnet_hf.models.registry import register_family


@strict
class PADQwen2Config(PADMoEConfig, Qwen2Config):
    """Qwen2 whose feed-forward layers are mixtures of experts; fields: Qwen2Config's and PADMoEConfig's."""

    model_type = "pad_qwen2"
    dense_class = Qwen2Config
    seam = SEAM


class PADQwen2Model(PADMoEMixin, stock.Qwen2Model):
    """The bare model."""


class PADQwen2ForCausalLM(PADMoEMixin, stock.Qwen2ForCausalLM):
    """The next token, and text by `generate`."""


class PADQwen2ForQuestionAnswering(PADMoEMixin, stock.Qwen2ForQuestionAnswering):
    """The start and the end of an answer in the text."""


class PADQwen2ForSequenceClassification(PADMoEMixin, stock.Qwen2ForSequenceClassification):
    """A text or a pair of texts to a class, or to a number, at its last token."""


class PADQwen2ForTokenClassification(PADMoEMixin, stock.Qwen2ForTokenClassification):
    """Every token to a class."""


register_family(PADQwen2Config, globals())
