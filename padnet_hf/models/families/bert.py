"""BERT."""

from dataclasses import replace

from huggingface_hub.dataclasses import strict
from transformers import BertConfig
from transformers.models.bert import modeling_bert as stock

from padnet_hf.models.families.bert_layers import SEAM
from padnet_hf.models.moe_config import PADMoEConfig
from padnet_hf.models.moe_model import PADMoEMixin
from padnet_hf.models.registry import register_family


@strict
class PADBertConfig(PADMoEConfig, BertConfig):
    """BERT whose feed-forward layers are mixtures of experts; fields: BertConfig's and PADMoEConfig's."""

    model_type = "pad_bert"
    dense_class = BertConfig
    seam = replace(SEAM, tp_plan={"embeddings.word_embeddings": "embedding_rowwise", **SEAM.tp_plan})


class PADBertModel(PADMoEMixin, stock.BertModel):
    """The bare model."""


class PADBertForMaskedLM(PADMoEMixin, stock.BertForMaskedLM):
    """The words under the mask."""

    _tp_plan = {"cls.predictions.decoder": "colwise_gather_output", "cls.predictions.bias": "colwise"}  # as its words


class PADBertForMultipleChoice(PADMoEMixin, stock.BertForMultipleChoice):
    """Which of several continuations is right."""


class PADBertForQuestionAnswering(PADMoEMixin, stock.BertForQuestionAnswering):
    """The start and the end of an answer in the text."""


class PADBertForSequenceClassification(PADMoEMixin, stock.BertForSequenceClassification):
    """A text or a pair of texts to a class, or to a number."""


class PADBertForTokenClassification(PADMoEMixin, stock.BertForTokenClassification):
    """Every token to a class."""


register_family(PADBertConfig, globals())
