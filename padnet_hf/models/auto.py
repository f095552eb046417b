"""Makes transformers' Auto classes know the PAD models."""

import transformers
from transformers import AutoConfig, AutoImageProcessor, AutoTokenizer, BertTokenizer, ConvNextImageProcessorPil

from padnet_hf.models import pad_bert, pad_resnet


def register() -> None:
    """Register every PAD configuration, model and tokenizer; calling it again changes nothing."""
    for family, config in ((pad_bert, pad_bert.PADBertConfig), (pad_resnet, pad_resnet.PADResNetConfig)):
        AutoConfig.register(config.model_type, config, exist_ok=True)
        for auto_class, name in config.auto_classes.items():
            if auto_class != "AutoConfig":
                getattr(transformers, auto_class).register(config, getattr(family, name), exist_ok=True)
    AutoTokenizer.register(pad_bert.PADBertConfig, tokenizer_class=BertTokenizer, exist_ok=True)
    processors = {"pil": ConvNextImageProcessorPil}  # ResNet's own; its other variant needs torchvision
    AutoImageProcessor.register(pad_resnet.PADResNetConfig, image_processor_classes=processors, exist_ok=True)
