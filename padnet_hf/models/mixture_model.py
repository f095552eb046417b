"""Models that were trained as mixtures of experts: all stock but the experts themselves."""

from transformers import PreTrainedModel

from padnet_hf.models.experts_model import PADExpertsMixin
from padnet_hf.models.mixture_config import PADMixtureConfig


class PADMixtureMixin(PADExpertsMixin):
    """Base class of PAD models of trained mixtures, before the stock class.

    Forward, blocks, routers, their loss and the outputs are the stock ones. `from_dense` takes the experts over, which
    are the copies, and `to_dense` gives a stock mixture whose experts are whole again, of every partition.
    """

    config: PADMixtureConfig

    def _put_in(self, base: PreTrainedModel) -> None:
        self.config.seam.replace(base, top_k=self.config.num_experts_per_tok)
