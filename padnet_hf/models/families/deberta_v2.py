"""DeBERTa-v2, and v3, whose layers have BERT's names."""

from dataclasses import replace

from huggingface_hub.dataclasses import strict
from transformers import DebertaV2Config
from transformers.models.deberta_v2 import modeling_deberta_v2 as stock

from padnet_hf.models.families.bert_layers import SEAM
from padnet_hf.models.moe_config import PADMoEConfig
from padnet_hf.models.moe_model import PADMoEMixin
from padnet_hf.models.registry import register_family


@strict
class PADDebertaV2Config(PADMoEConfig, DebertaV2Config):
    """DeBERTa-v2 whose feed-forward layers are mixtures of experts; fields: DebertaV2Config's and PADMoEConfig's."""

    model_type = "pad_deberta-v2"
    dense_class = DebertaV2Config
    seam = replace(SEAM, tp_plan={})


class PADDebertaV2Model(PADMoEMixin, stock.DebertaV2Model):
    """The bare model."""


class PADDebertaV2ForMaskedLM(PADMoEMixin, stock.DebertaV2ForMaskedLM):
    """The words under the mask."""


class PADDebertaV2ForMultipleChoice(PADMoEMixin, stock.DebertaV2ForMultipleChoice):
    """Which of several continuations is right."""


class PADDebertaV2ForQuestionAnswering(PADMoEMixin, stock.DebertaV2ForQuestionAnswering):
    """The start and the end of an answer in the text."""


class PADDebertaV2ForSequenceClassification(PADMoEMixin, stock.DebertaV2ForSequenceClassification):
    """A text or a pair of texts to a class, or to a number."""


class PADDebertaV2ForTokenClassification(PADMoEMixin, stock.DebertaV2ForTokenClassification):
    """Every token to a class."""


register_family(PADDebertaV2Config, globals())
