"""Makes transformers' Auto classes know the PAD models."""

from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForMultipleChoice,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
    BertTokenizer,
)

from padnet_hf.models import pad_bert


def register() -> None:
    """Register every PAD configuration, model and tokenizer; calling it again changes nothing."""
    config = pad_bert.PADBertConfig
    AutoConfig.register(config.model_type, config, exist_ok=True)
    AutoTokenizer.register(config, tokenizer_class=BertTokenizer, exist_ok=True)
    for auto_class, model_class in (
        (AutoModel, pad_bert.PADBertModel),
        (AutoModelForMaskedLM, pad_bert.PADBertForMaskedLM),
        (AutoModelForMultipleChoice, pad_bert.PADBertForMultipleChoice),
        (AutoModelForQuestionAnswering, pad_bert.PADBertForQuestionAnswering),
        (AutoModelForSequenceClassification, pad_bert.PADBertForSequenceClassification),
        (AutoModelForTokenClassification, pad_bert.PADBertForTokenClassification),
    ):
        auto_class.register(config, model_class, exist_ok=True)
