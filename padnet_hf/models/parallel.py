"""Tensor and expert parallelism of PAD models, by transformers' DistributedConfig."""

from typing import Any

from torch import Tensor
from transformers import PreTrainedModel
from transformers.distributed import DistributedConfig

from padnet_hf.errors import PADNetError


class PADParallelMixin(PreTrainedModel):
    """What PAD models take and refuse of transformers' DistributedConfig."""

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
            f"tp_size is {wanted.tp_size}, but {type(model).__name__} has no plan for tensor parallelism (nor has "
            f"{model.dense_class.__name__}); leave it out."
        )
    heads = getattr(config, "num_attention_heads", wanted.tp_size)
    if heads % wanted.tp_size:
        raise PADNetError(
            f"{heads} attention heads cannot be spread evenly over {wanted.tp_size} processes: tp_size must divide "
            f"{heads}."
        )
