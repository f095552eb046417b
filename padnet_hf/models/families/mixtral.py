"""Mixtral, trained as a mixture of experts."""

from huggingface_hub.dataclasses import strict
from transformers import MixtralConfig
from transformers.models.mixtral import modeling_mixtral as stock

from padnet_hf.models.experts_seam import Experts
from padnet_hf.models.mixture_config import PADMixtureConfig
from padnet_hf.models.mixture_model import PADMixtureMixin
from padnet_hf.models.registry import register_family


@strict
class PADMixtralConfig(PADMixtureConfig, MixtralConfig):
    """Mixtral with its own experts; fields: MixtralConfig's and PADMixtureConfig's."""

    model_type = "pad_mixtral"
    dense_class = MixtralConfig
    seam = Experts("layers.*.mlp.experts")


class PADMixtralModel(PADMixtureMixin, stock.MixtralModel):
    """The bare model."""


class PADMixtralForCausalLM(PADMixtureMixin, stock.MixtralForCausalLM):
    """The next token, and text by `generate`."""


class PADMixtralForQuestionAnswering(PADMixtureMixin, stock.MixtralForQuestionAnswering):
    """The start and the end of an answer in the text."""


class PADMixtralForSequenceClassification(PADMixtureMixin, stock.MixtralForSequenceClassification):
    """A text or a pair of texts to a class, or to a number, at its last token."""


class PADMixtralForTokenClassification(PADMixtureMixin, stock.MixtralForTokenClassification):
    """Every token to a class."""


register_family(PADMixtralConfig, globals())
