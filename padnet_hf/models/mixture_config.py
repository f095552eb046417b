"""What the configuration of a trained mixture of experts adds to the stock one of its family."""

from dataclasses import dataclass
from typing import Any, ClassVar, Self

from transformers import PreTrainedConfig

from padnet_hf.errors import PADNetError
from padnet_hf.models.experts_seam import Experts
from padnet_hf.models.pad_config import PADConfigMixin


@dataclass
class PADMixtureConfig(PADConfigMixin):
    """Base class of configurations of mixtures that are taken as they were trained; fields: PADConfigMixin's.

    How many experts there are, how many a token passes, and what its routers' loss weighs, the stock fields say.
    """

    seam: ClassVar[Experts]
    copies = "experts"
    keys_to_ignore_at_inference = ["past_key_values", "aux_loss", "router_logits"]

    base_model_tp_plan = base_model_ep_plan = base_model_pp_plan = None
    """The stock plans are for stock experts; none is tested with those that are partly static."""

    def _check_ranges(self) -> None:
        super()._check_ranges()
        self._check(self.num_experts >= 1, "num_experts", "at least 1")
        of_all = f"from 1 to num_experts, which is {self.num_experts}"
        self._check(1 <= self.num_experts_per_tok <= self.num_experts, "num_experts_per_tok", of_all)

    @classmethod
    def from_dense(cls, dense: PreTrainedConfig, **changed: Any) -> Self:
        """The configuration of a stock mixture with these fields set or changed.

        Raises PADNetError for an unknown field, a quantised model, and another number of experts.
        """
        for name in ("num_experts", "num_local_experts"):
            if changed.get(name, dense.num_experts) != dense.num_experts:
                raise PADNetError(
                    f"{name} is {changed[name]!r}, but the model has {dense.num_experts} experts, which are taken as "
                    "they were trained: leave it out."
                )
        return super().from_dense(dense, **changed)
