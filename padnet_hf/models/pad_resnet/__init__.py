"""PAD-ResNet: configuration, bare model, classifier and backbone.

Importing this package registers them with transformers' Auto classes.
"""

from transformers import AutoImageProcessor, ConvNextImageProcessorPil

from padnet_hf.models.pad_resnet.configuration_pad_resnet import PADResNetConfig
from padnet_hf.models.pad_resnet.modeling_pad_resnet import (
    PADResNetBackbone,
    PADResNetForImageClassification,
    PADResNetModel,
    PADResNetPreTrainedModel,
)
from padnet_hf.models.registration import register

register(PADResNetConfig, globals())
# ResNet's own; its other variant needs torchvision
AutoImageProcessor.register(PADResNetConfig, image_processor_classes={"pil": ConvNextImageProcessorPil}, exist_ok=True)

__all__ = [
    "PADResNetBackbone",
    "PADResNetConfig",
    "PADResNetForImageClassification",
    "PADResNetModel",
    "PADResNetPreTrainedModel",
]
