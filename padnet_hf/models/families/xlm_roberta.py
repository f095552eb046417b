"""XLM-RoBERTa, whose layers have BERT's names."""

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig, XLMRobertaConfig
from transformers.models.xlm_roberta import modeling_xlm_roberta as stock

from padnet_hf.models.families.bert_layers import SEAM
from padnet_hf.models.moe_config import PADMoEConfig
from padnet_hf.models.moe_model import PADMoEMixin
from padnet_hf.models.registry import register_family


@strict
class PADXLMRobertaConfig(PADMoEConfig, XLMRobertaConfig):
    """XLM-RoBERTa whose feed-forward layers are mixtures of experts; fields: XLMRobertaConfig's and PADMoEConfig's."""

    model_type = "pad_xlm-roberta"
    dense_class = XLMRobertaConfig
    seam = SEAM

    @staticmethod
    def longest_input(config: PreTrainedConfig) -> int:
        """Positions are counted from behind the one of padding."""
        return config.max_position_embeddings - config.pad_token_id - 1


class PADXLMRobertaModel(PADMoEMixin, stock.XLMRobertaModel):
    """The bare model."""


class PADXLMRobertaForMaskedLM(PADMoEMixin, stock.XLMRobertaForMaskedLM):
    """The words under the mask."""


class PADXLMRobertaForMultipleChoice(PADMoEMixin, stock.XLMRobertaForMultipleChoice):
    """Which of several continuations is right."""


class PADXLMRobertaForQuestionAnswering(PADMoEMixin, stock.XLMRobertaForQuestionAnswering):
    """The start and the end of an answer in the text."""


class PADXLMRobertaForSequenceClassification(PADMoEMixin, stock.XLMRobertaForSequenceClassification):
    """A text or a pair of texts to a class, or to a number."""


class PADXLMRobertaForTokenClassification(PADMoEMixin, stock.XLMRobertaForTokenClassification):
    """Every token to a class."""


register_family(PADXLMRobertaConfig, globals())
