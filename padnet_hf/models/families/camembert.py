"""CamemBERT, whose layers have BERT's names."""

from huggingface_hub.dataclasses import strict
from transformers import CamembertConfig, PreTrainedConfig
from transformers.models.camembert import modeling_camembert as stock

from padnet_hf.models.families.bert_layers import SEAM
from padnet_hf.models.moe_config import PADMoEConfig
from padnet_hf.models.moe_model import PADMoEMixin
from padnet_hf.models.registry import register_family


@strict
class PADCamembertConfig(PADMoEConfig, CamembertConfig):
    """CamemBERT whose feed-forward layers are mixtures of experts; fields: CamembertConfig's and PADMoEConfig's."""

    model_type = "pad_camembert"
    dense_class = CamembertConfig
    seam = SEAM

    @staticmethod
    def longest_input(config: PreTrainedConfig) -> int:
        """Positions are counted from behind the one of padding."""
        return config.max_position_embeddings - config.pad_token_id - 1


class PADCamembertModel(PADMoEMixin, stock.CamembertModel):
    """The bare model."""


class PADCamembertForMaskedLM(PADMoEMixin, stock.CamembertForMaskedLM):
    """The words under the mask."""


class PADCamembertForMultipleChoice(PADMoEMixin, stock.CamembertForMultipleChoice):
    """Which of several continuations is right."""


class PADCamembertForQuestionAnswering(PADMoEMixin, stock.CamembertForQuestionAnswering):
    """The start and the end of an answer in the text."""


class PADCamembertForSequenceClassification(PADMoEMixin, stock.CamembertForSequenceClassification):
    """A text or a pair of texts to a class, or to a number."""


class PADCamembertForTokenClassification(PADMoEMixin, stock.CamembertForTokenClassification):
    """Every token to a class."""


register_family(PADCamembertConfig, globals())
