"""Qwen3, whose attention norms queries and keys."""

from dataclasses import replace

from huggingface_hub.dataclasses import strict
from transformers import Qwen3Config
from transformers.models.qwen3 import modeling_qwen3 as stock

from padnet_hf.models.families.llama_layers import SEAM
from padnet_hf.models.moe_config import PADMoEConfig
from padnet_hf.models.moe_model import PADMoEMixin
from padnet_hf.models.registry import register_family

_NORMS = dict.fromkeys(("layers.*.self_attn.q_norm", "layers.*.self_attn.k_norm"), "replicated_with_grad_allreduce")


@strict
class PADQwen3Config(PADMoEConfig, Qwen3Config):
    """Qwen3 whose feed-forward layers are mixtures of experts; fields: Qwen3Config's and PADMoEConfig's."""

    model_type = "pad_qwen3"
    dense_class = Qwen3Config
    seam = replace(SEAM, tp_plan={**SEAM.tp_plan, **_NORMS})


class PADQwen3Model(PADMoEMixin, stock.Qwen3Model):
    """The bare model."""


class PADQwen3ForCausalLM(PADMoEMixin, stock.Qwen3ForCausalLM):
    """The next token, and text by `generate`."""


class PADQwen3ForQuestionAnswering(PADMoEMixin, stock.Qwen3ForQuestionAnswering):
    """The start and the end of an answer in the text."""


class PADQwen3ForSequenceClassification(PADMoEMixin, stock.Qwen3ForSequenceClassification):
    """A text or a pair of texts to a class, or to a number, at its last token."""


class PADQwen3ForTokenClassification(PADMoEMixin, stock.Qwen3ForTokenClassification):
    """Every token to a class."""


register_family(PADQwen3Config, globals())
