"""PAD-BERT: configuration, bare model and heads.

Importing this package registers them with transformers' Auto classes.
"""

from transformers import AutoTokenizer, BertTokenizer

from padnet_hf.models.pad_bert.configuration_pad_bert import PADBertConfig
from padnet_hf.models.pad_bert.heads_pad_bert import (
    PADBertForMaskedLM,
    PADBertForMultipleChoice,
    PADBertForQuestionAnswering,
    PADBertForSequenceClassification,
    PADBertForTokenClassification,
)
from padnet_hf.models.pad_bert.modeling_pad_bert import PADBertModel, PADBertPreTrainedModel
from padnet_hf.models.registration import register

register(PADBertConfig, globals())
AutoTokenizer.register(PADBertConfig, tokenizer_class=BertTokenizer, exist_ok=True)

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
