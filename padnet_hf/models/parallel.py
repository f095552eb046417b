"""Tensor and expert parallelism of PAD models, by transformers' DistributedConfig."""

from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.distributed import DistributedConfig

from padnet_hf.errors import PADNetError
from padnet_hf.layers.expert_parallel import SHARD_EXPERTS
from padnet_hf.method.layer import PADLayer
from padnet_hf.transformers_seams import check_parallel_styles, replace_layer_number_by_wildcard


class PADParallelMixin(PreTrainedModel):
    """What PAD models take and refuse of transformers' DistributedConfig."""

    @classmethod
    def prepare_distribute_model(cls, *args: Any, **kwargs: Any) -> Any:
        """transformers' first step with a DistributedConfig. Raises PADNetError if it cannot spread PAD models."""
        check_parallel_styles()
        return super().prepare_distribute_model(*args, **kwargs)

    @classmethod
    def maybe_distribute_model(
        cls, model: PreTrainedModel, distributed_config: DistributedConfig | None, *args: Any, **kwargs: Any
    ) -> PreTrainedModel:
        """transformers' seam between the empty model and its sharding.

        Raises PADNetError for what the model cannot be divided into, or what has not been tested.
        """
        if distributed_config is not None:
            _check(model, distributed_config)
        return super().maybe_distribute_model(model, distributed_config, *args, **kwargs)

    def _resolve_parallel_plans(self, distributed_config: DistributedConfig) -> tuple[dict[str, str], ...]:
        """transformers' plans by module; dense and PAD layers have one rule's name, and get what is meant for each."""
        tp_plan, ep_plan, fsdp_plan = super()._resolve_parallel_plans(distributed_config)
        for name, module in self.named_modules():
            if isinstance(module, PADLayer | nn.Identity):
                tp_plan.pop(name, None)
            elif ep_plan.get(name) == SHARD_EXPERTS:
                for key in [key for key in ep_plan if key == name or key.startswith(f"{name}.")]:
                    del ep_plan[key]
                tp_plan |= self._dense_rules(name, module)
        return tp_plan, ep_plan, fsdp_plan

    def _dense_rules(self, name: str, network: nn.Module) -> dict[str, str]:
        """The tensor-parallel rules of a dense network, or of its only layer, and of their parameters."""
        rules = {}
        for inner, module in network.named_modules(prefix=name):
            style = self.tp_plan.get(replace_layer_number_by_wildcard(inner))
            if style is not None:
                rules |= dict.fromkeys([*(f"{inner}.{own}" for own, _ in module.named_parameters()), inner], style)
        return rules

    def wait_for_all(self) -> None:
        """Return once every process that holds a part of this model has called it; at once if it is whole."""
        self.barrier_after_gathered_checkpoint_save(getattr(self.config, "distributed_config", None))

    def gather_sharded_state_dict_for_save(self, *args: Any, **kwargs: Any) -> dict[str, Tensor]:
        """transformers' whole tensors of a sharded model; a parameter with two names stays one, and is saved once."""
        gathered = super().gather_sharded_state_dict_for_save(*args, **kwargs)
        if self.is_distributed_loading_by_transformers:
            ties = self.all_tied_weights_keys.items()
            gathered |= {name: gathered[source] for name, source in ties if source in gathered}
        return gathered


def _check(model: PreTrainedModel, wanted: DistributedConfig) -> None:
    config = model.config
    for name in ("fsdp_size", "dp_replicate_size", "pp_size"):
        if getattr(wanted, name) > 1:
            raise PADNetError(
                f"{name} is {getattr(wanted, name)}, but PAD models take tp_size and ep_size of a DistributedConfig "
                "alone. For sharded data parallelism start the Trainer with --fsdp."
            )
    if wanted.ep_size > 1 and getattr(config, "expert_dropout", 0):
        raise PADNetError(
            f"expert_dropout is {config.expert_dropout}, but with experts on {wanted.ep_size} processes each would "
            "draw numbers for its own tokens, and all further dropout would differ between them: load the model with "
            "expert_dropout=0.0."
        )
    if wanted.tp_size > 1 and not config.base_model_tp_plan:
        raise PADNetError(
            f"tp_size is {wanted.tp_size}, but {type(model).__name__} has no plan for tensor parallelism: leave it out."
        )
    for name, what in (("num_attention_heads", "attention heads"), ("num_key_value_heads", "heads of keys and values")):
        heads = getattr(config, name, wanted.tp_size)
        if heads % wanted.tp_size:
            raise PADNetError(
                f"{heads} {what} cannot be spread evenly over {wanted.tp_size} processes: tp_size must divide {heads}."
            )
