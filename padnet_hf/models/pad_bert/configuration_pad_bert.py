"""Configuration of PAD-BERT."""

from typing import Any, get_args

from huggingface_hub.dataclasses import strict
from transformers import BertConfig

from padnet_hf.errors import PADNetError
from padnet_hf.layers.expert_parallel import SHARD_EXPERTS
from padnet_hf.layers.feed_forward import RouterLevel
from padnet_hf.models.pad_config import PADConfigMixin


@strict
class PADBertConfig(PADConfigMixin, BertConfig):
    """BERT whose feed-forward layers are mixtures of experts, fully or partially dynamic.

    Attributes beside BertConfig's and PADConfigMixin's:
        num_experts: E, copies of each dynamic feed-forward network (upstream: 8).
        num_experts_per_tok: K, experts that each token passes, 1 to E (upstream: 2).
        moe_layers: indices of the layers that are dynamic; None for all. For PAD by unit the last three of six did
            as well as all in short training, better on all of MRPC and STS-B: docs/study.md, "In short".
        expert_dropout: dropout of the experts' inner activations in training (none upstream; Fedus et al. 2022, section
            2.4, fine-tune with 0.4).
        router_level: "token": every token has experts of its own (upstream); "sentence": all tokens of a sentence have
            the same ones (Kudugunta et al. 2021).
        router_noise: whether training adds learned noise to the router's logits (upstream: yes; without it fully
            dynamic networks and those partitioned by element gain in short training, those by unit stay level, and on
            all data so does fully dynamic: docs/study.md, "In short").
        router_noise_epsilon: least standard deviation of that noise (upstream: 1e-2).
        router_init_std: standard deviation of the router's initial weights (upstream: 0, which needs the noise: without
            it all tokens would begin with the same experts).
        balance_loss_coef: weight of the balance loss in the training loss (upstream: 1e-2).
        output_router_logits: whether outputs carry the router logits of every dynamic layer.
    """

    model_type = "pad_bert"
    dense_class = BertConfig
    copies = "experts"
    processing_class = "AutoTokenizer"
    auto_classes = {
        "AutoConfig": "PADBertConfig",
        "AutoModel": "PADBertModel",
        "AutoModelForMaskedLM": "PADBertForMaskedLM",
        "AutoModelForMultipleChoice": "PADBertForMultipleChoice",
        "AutoModelForQuestionAnswering": "PADBertForQuestionAnswering",
        "AutoModelForSequenceClassification": "PADBertForSequenceClassification",
        "AutoModelForTokenClassification": "PADBertForTokenClassification",
    }
    base_model_ep_plan = {
        "encoder.layer.*.feed_forward": SHARD_EXPERTS,
        "encoder.layer.*.feed_forward.experts": "ep_dispatch_experts",
    }
    keys_to_ignore_at_inference = ["past_key_values", "task_loss", "balance_loss", "router_logits"]

    num_experts: int = 8
    num_experts_per_tok: int = 2
    moe_layers: list[int] | None = None
    expert_dropout: float | int = 0.0
    router_level: str = "token"
    router_noise: bool = False
    router_noise_epsilon: float | int = 1e-2
    router_init_std: float | int = 0.05
    balance_loss_coef: float | int = 1e-2
    output_router_logits: bool = False

    def __post_init__(self, **kwargs: Any) -> None:
        super().__post_init__(**kwargs)
        self._check_ranges()

    def _check_ranges(self) -> None:
        def check(valid: bool, name: str, allowed: str) -> None:
            if not valid:
                raise PADNetError(f"{name} is {getattr(self, name)!r}, but must be {allowed}.")

        layers = self.num_hidden_layers
        check(self.num_experts >= 1, "num_experts", "at least 1")
        check(
            1 <= self.num_experts_per_tok <= self.num_experts,
            "num_experts_per_tok",
            f"from 1 to num_experts, which is {self.num_experts}",
        )
        check(
            self.moe_layers is None or all(0 <= layer < layers for layer in self.moe_layers),
            "moe_layers",
            f"None for all layers, or a list of layer numbers from 0 to {layers - 1}",
        )
        for name in ("router_noise_epsilon", "router_init_std", "balance_loss_coef"):
            check(getattr(self, name) >= 0, name, "0 or larger")
        check(0 <= self.expert_dropout < 1, "expert_dropout", "from 0 to below 1")
        levels = get_args(RouterLevel)
        check(self.router_level in levels, "router_level", f"one of {', '.join(map(repr, levels))}")
        check(not self.is_decoder, "is_decoder", "False: PAD-BERT is an encoder")
        self._check_origin()

    @property
    def base_model_tp_plan(self) -> dict[str, str]:
        """transformers' tensor-parallel plan: words, heads of attention, inner neurons of dense feed-forward layers."""
        plan = {"embeddings.word_embeddings": "embedding_rowwise"}
        plan |= {f"encoder.layer.*.attention.self.{name}": "colwise" for name in ("query", "key", "value")}
        plan["encoder.layer.*.attention.output.dense"] = "rowwise"
        if not all(map(self.is_moe_layer, range(self.num_hidden_layers))):
            plan |= {"encoder.layer.*.intermediate.dense": "colwise", "encoder.layer.*.output.dense": "rowwise"}
        return plan

    def is_moe_layer(self, layer: int) -> bool:
        """Whether the feed-forward layer of this BERT layer is dynamic."""
        return self.moe_layers is None or layer in self.moe_layers


__all__ = ["PADBertConfig"]
