"""PAD-BERT: configuration, bare model and heads."""

from padnet_hf.models.pad_bert.configuration_pad_bert import PADBertConfig
from padnet_hf.models.pad_bert.heads_pad_bert import (
    PADBertForMaskedLM,
    PADBertForMultipleChoice,
    PADBertForQuestionAnswering,
    PADBertForSequenceClassification,
    PADBertForTokenClassification,
)
from padnet_hf.models.pad_bert.modeling_pad_bert import PADBertModel, PADBertPreTrainedModel

__all__ = [
    "PADBertConfig",
    "PADBertForMaskedLM",
    "PADBertForMultipleChoice",
    "PADBertForQuestionAnswering",
    "PADBertForSequenceClassification",
    "PADBertForTokenClassification",
    "PADBertModel",
    "PADBertPreTrainedModel",
]
