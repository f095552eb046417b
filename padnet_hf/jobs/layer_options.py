"""The options of dynamic layers, the same in every script: fields of the configurations, left at their defaults."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from padnet_hf.errors import PADNetError
from padnet_hf.jobs.command_line import option
from padnet_hf.jobs.partition_options import PartitionOptions
from padnet_hf.models.kernels_config import PADKernelsConfig
from padnet_hf.models.moe_config import PADMoEConfig
from padnet_hf.models.pad_config import PADConfigMixin

EXPERTS = (
    "num_experts", "num_experts_per_tok", "moe_layers", "expert_dropout",
    "router_noise", "router_init_std", "balance_loss_coef",
)  # fmt: skip
"""Options that are fields of PADMoEConfig."""

KERNELS = ("num_kernels", "reduction", "attention", "dynamic_layers")
"""Options that are fields of PADKernelsConfig."""


@dataclass
class ExpertOptions(PartitionOptions):
    """How feed-forward layers become mixtures of experts."""

    num_experts: int | None = option("Copies E of each feed-forward network (8).")
    num_experts_per_tok: int | None = option("Experts chosen per token (2).")
    moe_layers: list[int] | None = option("Numbers of the layers that become dynamic (all).")
    expert_dropout: float | None = option("Dropout of the experts' inner activations in training (0).")
    router_noise: bool | None = option(
        "Whether training adds learned noise to the routers' logits (False; the paper: True)."
    )
    router_init_std: float | None = option("Standard deviation of the routers' initial weights (0.05; the paper: 0).")
    balance_loss_coef: float | None = option("Weight of the balance loss in the training loss (0.01).")
    experts_implementation: Literal["pad", "eager", "grouped_mm"] | None = option(
        "How the experts are computed (pad: eager on a CPU, grouped_mm elsewhere)."
    )

    layer_options: ClassVar[tuple[str, ...]] = EXPERTS


def layer_fields(options: PartitionOptions, family: type[PADConfigMixin]) -> dict[str, Any]:
    """The fields of the family's configuration that are options, defaults filled in; empty for a plain network.

    Raises PADNetError for an option of the other kind of layers.
    """
    if options.variant == options.plain:
        return {}
    family.check_static_values(options.imp_static_values)
    kinds = {PADMoEConfig: EXPERTS, PADKernelsConfig: KERNELS}  # of a trained mixture no field is an option
    config = next((kind for kind in kinds if issubclass(family, kind)), family)
    own, others = kinds.pop(config, ()), [name for names in kinds.values() for name in names]
    for name in sorted(options.given.intersection(others)):
        as_trained = " that are taken as they were trained" if family.seam.has_copies else ""
        raise PADNetError(
            f"--{name} {getattr(options, name)} has no effect on a model of type {family.dense_class.model_type!r}, "
            f"whose dynamic layers have {family.copies}{as_trained}: leave it out"
        )
    return filled_in(options, own, config)


def filled_in(options: PartitionOptions, names: Iterable[str], config: type[PADConfigMixin]) -> dict[str, Any]:
    """These options, those not given as the configuration has them by default."""
    return {name: getattr(options if name in options.given else config, name) for name in names}
