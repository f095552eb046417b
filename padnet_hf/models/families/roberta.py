"""RoBERTa, whose layers have BERT's names."""

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig, RobertaConfig
from transformers.models.roberta import modeling_roberta as stock

from padnet_hf.models.families.bert_layers import SEAM
from padnet_hf.models.moe_config import PADMoEConfig
from padnet_hf.models.moe_model import PADMoEMixin
from padnet_hf.models.registry import register_family


@strict
class PADRobertaConfig(PADMoEConfig, RobertaConfig):
    """RoBERTa whose feed-forward layers are mixtures of experts; fields: RobertaConfig's and PADMoEConfig's."""

    model_type = "pad_roberta"
    dense_class = RobertaConfig
    seam = SEAM

    @staticmethod
    def longest_input(config: PreTrainedConfig) -> int:
        """Positions are counted from behind the one of padding."""
        return config.max_position_embeddings - config.pad_token_id - 1


class PADRobertaModel(PADMoEMixin, stock.RobertaModel):
    """The bare model."""


class PADRobertaForMaskedLM(PADMoEMixin, stock.RobertaForMaskedLM):
    """The words under the mask."""


class PADRobertaForMultipleChoice(PADMoEMixin, stock.RobertaForMultipleChoice):
    """Which of several continuations is right."""


class PADRobertaForQuestionAnswering(PADMoEMixin, stock.RobertaForQuestionAnswering):
    """The start and the end of an answer in the text."""


class PADRobertaForSequenceClassification(PADMoEMixin, stock.RobertaForSequenceClassification):
    """A text or a pair of texts to a class, or to a number."""


class PADRobertaForTokenClassification(PADMoEMixin, stock.RobertaForTokenClassification):
    """Every token to a class."""


register_family(PADRobertaConfig, globals())
