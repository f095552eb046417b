"""DistilBERT."""

from huggingface_hub.dataclasses import strict
from transformers import DistilBertConfig
from transformers.models.distilbert import modeling_distilbert as stock

from padnet_hf.models.moe_config import PADMoEConfig
from padnet_hf.models.moe_model import PADMoEMixin
from padnet_hf.models.registry import register_family
from padnet_hf.models.seams import FeedForward


@strict
class PADDistilBertConfig(PADMoEConfig, DistilBertConfig):
    """DistilBERT whose feed-forward layers are mixtures of experts; fields: DistilBertConfig's and PADMoEConfig's."""

    model_type = "pad_distilbert"
    dense_class = DistilBertConfig
    seam = FeedForward("transformer.layer.*.ffn", up="lin1", down="lin2", activation="activation")


class PADDistilBertModel(PADMoEMixin, stock.DistilBertModel):
    """The bare model."""


class PADDistilBertForMaskedLM(PADMoEMixin, stock.DistilBertForMaskedLM):
    """The words under the mask."""


class PADDistilBertForMultipleChoice(PADMoEMixin, stock.DistilBertForMultipleChoice):
    """Which of several continuations is right."""


class PADDistilBertForQuestionAnswering(PADMoEMixin, stock.DistilBertForQuestionAnswering):
    """The start and the end of an answer in the text."""


class PADDistilBertForSequenceClassification(PADMoEMixin, stock.DistilBertForSequenceClassification):
    """A text or a pair of texts to a class, or to a number."""


class PADDistilBertForTokenClassification(PADMoEMixin, stock.DistilBertForTokenClassification):
    """Every token to a class."""


register_family(PADDistilBertConfig, globals())
