"""PAD-ResNet: configuration, bare model, classifier and backbone."""

from padnet_hf.models.pad_resnet.configuration_pad_resnet import PADResNetConfig
from padnet_hf.models.pad_resnet.modeling_pad_resnet import (
    PADResNetBackbone,
    PADResNetForImageClassification,
    PADResNetModel,
    PADResNetPreTrainedModel,
)

__all__ = [
    "PADResNetBackbone",
    "PADResNetConfig",
    "PADResNetForImageClassification",
    "PADResNetModel",
    "PADResNetPreTrainedModel",
]
