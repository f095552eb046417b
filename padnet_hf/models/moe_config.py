"""What the configuration of a mixture of experts adds to the stock one of its family."""

from dataclasses import dataclass
from typing import Any, ClassVar

from padnet_hf.errors import PADNetError
from padnet_hf.layers.expert_parallel import SHARD_EXPERTS
from padnet_hf.models.pad_config import PADConfigMixin
from padnet_hf.models.seams import FeedForward


@dataclass
class PADMoEConfig(PADConfigMixin):
    """Base class of configurations of models whose feed-forward layers are mixtures of experts.

    Attributes beside the stock ones and PADConfigMixin's:
        num_experts: E, copies of each dynamic feed-forward network (upstream: 8).
        num_experts_per_tok: K, experts that each token passes, 1 to E (upstream: 2).
        moe_layers: indices of the layers that are dynamic; None for all. docs/study.md ("In short") has what the last
            half of them is worth.
        expert_dropout: dropout of the experts' inner activations in training (none upstream; Fedus et al. 2022, section
            2.4, fine-tune with 0.4). 0 keeps what the dense network has.
        router_noise: whether training adds learned noise to the router's logits (upstream: yes; docs/study.md, "In
            short", has why ours does not).
        router_noise_epsilon: least standard deviation of that noise (upstream: 1e-2).
        router_init_std: standard deviation of the router's initial weights (upstream: 0, which needs the noise: without
            it all tokens would begin with the same experts).
        balance_loss_coef: weight of the balance loss, the sum over all layers, in the training loss (upstream: 1e-2;
            1e-2 for each layer of language models, too: Fedus et al. 2022, section 2.2).
        output_router_logits: whether outputs carry the router logits of every dynamic layer.
    """

    seam: ClassVar[FeedForward]
    copies = "experts"
    first_version = (0, 2)
    keys_to_ignore_at_inference = ["past_key_values", "task_loss", "balance_loss", "router_logits"]

    num_experts: int = 8
    num_experts_per_tok: int = 2
    moe_layers: list[int] | None = None
    expert_dropout: float | int = 0.0
    router_noise: bool = False
    router_noise_epsilon: float | int = 1e-2
    router_init_std: float | int = 0.05
    balance_loss_coef: float | int = 1e-2
    output_router_logits: bool = False

    def _check_ranges(self) -> None:
        super()._check_ranges()
        self._check(self.num_experts >= 1, "num_experts", "at least 1")
        of_all = f"from 1 to num_experts, which is {self.num_experts}"
        self._check(1 <= self.num_experts_per_tok <= self.num_experts, "num_experts_per_tok", of_all)
        self._check_layers()
        for name in ("router_noise_epsilon", "router_init_std", "balance_loss_coef"):
            self._check(getattr(self, name) >= 0, name, "0 or larger")
        self._check(0 <= self.expert_dropout < 1, "expert_dropout", "from 0 to below 1")
        self._check(
            not getattr(self, "is_decoder", False), "is_decoder", f"False: {type(self).__name__} is an encoder's"
        )

    def _check_layers(self) -> None:
        if self.moe_layers is None:
            return
        if self.seam.is_shared:
            raise PADNetError(
                f"moe_layers is {self.moe_layers}, but the layers of {self.dense_class.model_type!r} share their "
                "weights, so that they are dynamic together: leave moe_layers out."
            )
        layers = self.num_hidden_layers
        allowed = f"None for all layers, or a list of layer numbers from 0 to {layers - 1}"
        self._check(all(0 <= layer < layers for layer in self.moe_layers), "moe_layers", allowed)

    def expert_options(self) -> dict[str, Any]:
        """What PADFeedForward is built with, beside sizes and activation."""
        return {
            "num_experts": self.num_experts,
            "top_k": self.num_experts_per_tok,
            "router_noise": self.router_noise,
            "router_noise_epsilon": self.router_noise_epsilon,
            "dropout": self.expert_dropout,
        }

    base_model_pp_plan = None
    """None of PAD models is tested with pipeline parallelism, which some stock models have a plan for."""

    @property
    def base_model_ep_plan(self) -> dict[str, str] | None:
        """transformers' expert-parallel plan; it needs a tensor-parallel one beside it."""
        if not self.seam.tp_plan:
            return None
        return {self.seam.place: SHARD_EXPERTS, f"{self.seam.place}.experts": "ep_dispatch_experts"}

    @property
    def base_model_tp_plan(self) -> dict[str, str] | None:
        """transformers' tensor-parallel plan, of dense feed-forward layers too; None if the family has none."""
        seam, plan = self.seam, dict(self.seam.tp_plan)
        if plan and self.moe_layers is not None and len(set(self.moe_layers)) < self.num_hidden_layers:
            plan |= {f"{seam.layers}.{path}": "colwise" for path in (seam.gate, seam.up) if path}
            plan[f"{seam.layers}.{seam.down}"] = "rowwise"
        return plan or None

    @base_model_tp_plan.setter
    def base_model_tp_plan(self, plan: dict[str, str]) -> None:
        """Do nothing: transformers 5.19 adds a rule for tied words, where PAD models cannot be spread at all."""
