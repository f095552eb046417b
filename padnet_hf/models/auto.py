"""Makes transformers' Auto classes know the PAD models."""

from transformers import (
    AutoBackbone,
    AutoConfig,
    AutoImageProcessor,
    AutoModel,
    AutoModelForImageClassification,
    AutoModelForMaskedLM,
    AutoModelForMultipleChoice,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
    BertTokenizer,
    ConvNextImageProcessorPil,
)

from padnet_hf.models import pad_bert, pad_resnet


def register() -> None:
    """Register every PAD configuration, model and tokenizer; calling it again changes nothing."""
    bert, resnet = pad_bert.PADBertConfig, pad_resnet.PADResNetConfig
    for config in (bert, resnet):
        AutoConfig.register(config.model_type, config, exist_ok=True)
    AutoTokenizer.register(bert, tokenizer_class=BertTokenizer, exist_ok=True)
    processors = {"pil": ConvNextImageProcessorPil}  # ResNet's own; its other variant needs torchvision
    AutoImageProcessor.register(resnet, image_processor_classes=processors, exist_ok=True)
    for auto_class, model_class in (
        (AutoModel, pad_bert.PADBertModel),
        (AutoModelForMaskedLM, pad_bert.PADBertForMaskedLM),
        (AutoModelForMultipleChoice, pad_bert.PADBertForMultipleChoice),
        (AutoModelForQuestionAnswering, pad_bert.PADBertForQuestionAnswering),
        (AutoModelForSequenceClassification, pad_bert.PADBertForSequenceClassification),
        (AutoModelForTokenClassification, pad_bert.PADBertForTokenClassification),
        (AutoModel, pad_resnet.PADResNetModel),
        (AutoModelForImageClassification, pad_resnet.PADResNetForImageClassification),
        (AutoBackbone, pad_resnet.PADResNetBackbone),
    ):
        auto_class.register(model_class.config_class, model_class, exist_ok=True)
