"""ViT."""

from huggingface_hub.dataclasses import strict
from transformers import ViTConfig
from transformers.models.vit import modeling_vit as stock

from padnet_hf.models.moe_config import PADMoEConfig
from padnet_hf.models.moe_model import PADMoEMixin
from padnet_hf.models.registry import register_family
from padnet_hf.models.seams import FeedForward


@strict
class PADViTConfig(PADMoEConfig, ViTConfig):
    """ViT whose feed-forward layers are mixtures of experts; fields: ViTConfig's and PADMoEConfig's."""

    model_type = "pad_vit"
    dense_class = ViTConfig
    seam = FeedForward("layers.*.mlp", up="fc1", down="fc2", activation="activation_fn")


class PADViTModel(PADMoEMixin, stock.ViTModel):
    """The bare model."""


class PADViTForImageClassification(PADMoEMixin, stock.ViTForImageClassification):
    """An image to a class."""


register_family(PADViTConfig, globals())
