"""ModernBERT, whose feed-forward networks have gates."""

from huggingface_hub.dataclasses import strict
from torch import Tensor
from transformers import ModernBertConfig
from transformers.models.modernbert import modeling_modernbert as stock

from padnet_hf.method.weight import PADWeight
from padnet_hf.models.moe_config import PADMoEConfig
from padnet_hf.models.moe_model import PADMoEMixin
from padnet_hf.models.registry import register_family
from padnet_hf.models.seams import FeedForward


@strict
class PADModernBertConfig(PADMoEConfig, ModernBertConfig):
    """ModernBERT whose feed-forward layers are mixtures of experts; fields: ModernBertConfig's and PADMoEConfig's."""

    model_type = "pad_modernbert"
    dense_class = ModernBertConfig
    seam = FeedForward("layers.*.mlp", gate="Wi", up="Wi", down="Wo", activation="act", dropout="drop")


class _PADModernBert(PADMoEMixin):
    def _drawn_like_stock(self, weight: PADWeight) -> Tensor:
        with weight.values.device:
            mlp = stock.ModernBertMLP(self.config).to(weight.values.dtype)
        self._init_weights(mlp)
        return (mlp.Wi if weight.layout.unit_blocks == 2 else mlp.Wo).weight.detach()


class PADModernBertModel(_PADModernBert, stock.ModernBertModel):
    """The bare model."""


class PADModernBertForMaskedLM(_PADModernBert, stock.ModernBertForMaskedLM):
    """The words under the mask."""


class PADModernBertForMultipleChoice(_PADModernBert, stock.ModernBertForMultipleChoice):
    """Which of several continuations is right."""


class PADModernBertForQuestionAnswering(_PADModernBert, stock.ModernBertForQuestionAnswering):
    """The start and the end of an answer in the text."""


class PADModernBertForSequenceClassification(_PADModernBert, stock.ModernBertForSequenceClassification):
    """A text or a pair of texts to a class, or to a number."""


class PADModernBertForTokenClassification(_PADModernBert, stock.ModernBertForTokenClassification):
    """Every token to a class."""


register_family(PADModernBertConfig, globals())
