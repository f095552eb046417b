"""OLMoE, trained as a mixture of experts, whose gates need not sum to one."""

from huggingface_hub.dataclasses import strict
from transformers import OlmoeConfig
from transformers.models.olmoe import modeling_olmoe as stock

from padnet_hf.models.experts_seam import Experts
from padnet_hf.models.mixture_config import PADMixtureConfig
from padnet_hf.models.mixture_model import PADMixtureMixin
from padnet_hf.models.registry import register_family


@strict
class PADOlmoeConfig(PADMixtureConfig, OlmoeConfig):
    """OLMoE with its own experts; fields: OlmoeConfig's and PADMixtureConfig's."""

    model_type = "pad_olmoe"
    dense_class = OlmoeConfig
    seam = Experts("layers.*.mlp.experts")


class PADOlmoeModel(PADMixtureMixin, stock.OlmoeModel):
    """The bare model."""


class PADOlmoeForCausalLM(PADMixtureMixin, stock.OlmoeForCausalLM):
    """The next token, and text by `generate`."""


register_family(PADOlmoeConfig, globals())
