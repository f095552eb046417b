"""ELECTRA, whose layers have BERT's names."""

from huggingface_hub.dataclasses import strict
from transformers import ElectraConfig
from transformers.models.electra import modeling_electra as stock

from padnet_hf.models.families.bert_layers import SEAM
from padnet_hf.models.moe_config import PADMoEConfig
from padnet_hf.models.moe_model import PADMoEMixin
from padnet_hf.models.registry import register_family


@strict
class PADElectraConfig(PADMoEConfig, ElectraConfig):
    """ELECTRA whose feed-forward layers are mixtures of experts; fields: ElectraConfig's and PADMoEConfig's."""

    model_type = "pad_electra"
    dense_class = ElectraConfig
    seam = SEAM


class PADElectraModel(PADMoEMixin, stock.ElectraModel):
    """The bare model."""


class PADElectraForMaskedLM(PADMoEMixin, stock.ElectraForMaskedLM):
    """The words under the mask."""


class PADElectraForMultipleChoice(PADMoEMixin, stock.ElectraForMultipleChoice):
    """Which of several continuations is right."""


class PADElectraForQuestionAnswering(PADMoEMixin, stock.ElectraForQuestionAnswering):
    """The start and the end of an answer in the text."""


class PADElectraForSequenceClassification(PADMoEMixin, stock.ElectraForSequenceClassification):
    """A text or a pair of texts to a class, or to a number."""


class PADElectraForTokenClassification(PADMoEMixin, stock.ElectraForTokenClassification):
    """Every token to a class."""


register_family(PADElectraConfig, globals())
