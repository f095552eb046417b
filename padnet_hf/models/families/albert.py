"""ALBERT, whose layers are one that is run many times."""

from huggingface_hub.dataclasses import strict
from transformers import AlbertConfig
from transformers.models.albert import modeling_albert as stock

from padnet_hf.models.moe_config import PADMoEConfig
from padnet_hf.models.moe_model import PADMoEMixin
from padnet_hf.models.registry import register_family
from padnet_hf.models.seams import FeedForward


@strict
class PADAlbertConfig(PADMoEConfig, AlbertConfig):
    """ALBERT whose feed-forward layers are mixtures of experts; fields: AlbertConfig's and PADMoEConfig's."""

    model_type = "pad_albert"
    dense_class = AlbertConfig
    seam = FeedForward(
        "encoder.albert_layer_groups.*.albert_layers.*", up="ffn", down="ffn_output", activation="activation"
    )


class PADAlbertModel(PADMoEMixin, stock.AlbertModel):
    """The bare model."""


class PADAlbertForMaskedLM(PADMoEMixin, stock.AlbertForMaskedLM):
    """The words under the mask."""


class PADAlbertForMultipleChoice(PADMoEMixin, stock.AlbertForMultipleChoice):
    """Which of several continuations is right."""


class PADAlbertForQuestionAnswering(PADMoEMixin, stock.AlbertForQuestionAnswering):
    """The start and the end of an answer in the text."""


class PADAlbertForSequenceClassification(PADMoEMixin, stock.AlbertForSequenceClassification):
    """A text or a pair of texts to a class, or to a number."""


class PADAlbertForTokenClassification(PADMoEMixin, stock.AlbertForTokenClassification):
    """Every token to a class."""


register_family(PADAlbertConfig, globals())
