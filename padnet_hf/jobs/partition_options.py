"""The options of a partition, the same in every script."""

from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Literal, Self

from transformers import TrainingArguments

from padnet_hf.errors import PADNetError
from padnet_hf.jobs.command_line import option
from padnet_hf.method.config import PartitionConfig, StaticValues
from padnet_hf.method.layout import Masks

_FIELDS = {
    "dynamic_ratio": "dynamic_ratio",
    "target_size": "target_size",
    "granularity": "granularity",
    "masks": "masks",
    "imp_criterion": "criterion",
    "imp_rounds": "num_rounds",
    "imp_batches": "num_batches",
    "imp_scope": "scope",
    "imp_schedule": "schedule",
    "imp_static_branch": "static_branch",
    "imp_static_values": "static_values",
}
"""Option -> field of PartitionConfig."""

_TIMING = ("partition_when", "recovery_steps")


@dataclass
class PartitionOptions:
    """Which network. A script's subclass adds the option of its fully dynamic network, and those of its layers."""

    use_pad: bool = option("Train a partitioned network (PAD-Net).", False)
    dynamic_ratio: float | None = option("Share of the parameters that stays dynamic, 0 to 1 (0.5).")
    target_size: str | None = option("Size of the model's file instead of a share: 120MB, for instance.")
    granularity: Literal["element", "unit"] | None = option("What is static or dynamic as a whole (element).")
    masks: Masks | None = option(
        "The same dynamic elements or units in all copies, or in each its own, per_copy (shared); units of each copy's "
        "own go with --imp_static_values none."
    )
    imp_criterion: str | None = option(
        "Score: snip, fisher, magnitude, random, or a registered one (snip; fisher where copies differ)."
    )
    imp_rounds: int | None = option("Rounds of iterative mode partition (3).")
    imp_batches: int | None = option("Mini-batches that each round scores (8).")
    imp_scope: Literal["global", "layer"] | None = option("Share reached over all layers or in each (global).")
    imp_schedule: Literal["exponential", "linear"] | None = option("How the share falls (exponential).")
    imp_static_branch: Literal["drop", "keep"] | None = option("Static values while scoring (drop).")
    imp_static_values: StaticValues | None = option(
        "What static values begin with: the mean of the copies, the same weighted by squared gradients (fisher) or by "
        "how much each was used (usage), or the first of them (mean; fisher where copies differ). none: units that a "
        "copy does not keep are left out of it."
    )

    partition_when: Literal["before", "after"] | None = option(
        "Partition before the training, or after it, when copies differ and the choice can go by that (before)."
    )
    recovery_steps: int | None = option("Steps of training after a late partition (0).")

    # A script's own: what its plain network is called, which option keeps a network fully dynamic, which options only a
    # network with dynamic layers has, and fields of PartitionConfig that have another default.
    plain: ClassVar[str] = "dense"
    dynamic_option: ClassVar[str]
    layer_options: ClassVar[tuple[str, ...]] = ()
    partition_defaults: ClassVar[dict[str, Any]] = {}

    @property
    def variant(self) -> str:
        """The network asked for: `partitioned`, `fully dynamic` or the plain one."""
        if self.use_pad:
            return "partitioned"
        return "fully dynamic" if getattr(self, self.dynamic_option) else self.plain

    @property
    def given(self) -> set[str]:
        """Options that were given a value."""
        return {item.name for item in fields(self) if getattr(self, item.name) is not None}

    @property
    def is_late(self) -> bool:
        """Whether the fully dynamic network is trained, and partitioned afterwards."""
        return self.use_pad and self.partition_when == "after"

    def fully_dynamic(self) -> Self:
        """The options of the training before a late partition."""
        idle = dict.fromkeys((*_FIELDS, *_TIMING))
        return replace(self, use_pad=False, **idle, **{self.dynamic_option: True})

    def trained(self) -> Self:
        """The options of a late partition, once there is what it begins with."""
        return replace(self, **dict.fromkeys(_TIMING))


def partition_config(options: PartitionOptions, seed: int) -> PartitionConfig | None:
    """The partition asked for, None without --use_pad. Raises PADNetError for values and combinations not allowed."""
    dynamic = options.dynamic_option
    is_dynamic = getattr(options, dynamic)
    if options.use_pad and is_dynamic:
        raise PADNetError(
            f"--use_pad and --{dynamic} exclude each other (the first partitions, the second stays fully dynamic): "
            "leave out one of them"
        )
    idle = set() if options.use_pad else options.given.intersection((*_FIELDS, *_TIMING))
    if options.variant == options.plain:
        idle |= options.given.intersection(options.layer_options)
    for name in sorted(idle):
        remedy = f"--use_pad instead of --{dynamic}" if is_dynamic else "--use_pad"
        remedy += f" or --{dynamic}" if name in options.layer_options else ""
        raise PADNetError(
            f"--{name} {getattr(options, name)} has no effect on a {options.variant} network: add {remedy}"
        )
    if not options.use_pad:
        return None
    _check_recovery(options)
    chosen = {name: getattr(options, key) for key, name in _FIELDS.items() if key in options.given}
    if options.target_size is not None:  # takes the place of a script's own ratio
        chosen.setdefault("dynamic_ratio", None)
    return PartitionConfig(seed=seed, **options.partition_defaults | chosen)


def _check_recovery(options: PartitionOptions) -> None:
    steps = options.recovery_steps
    if steps is None:
        return
    if not options.is_late:
        raise PADNetError(f"--recovery_steps {steps} has no effect: add --partition_when after")
    if steps < 0:
        raise PADNetError(f"--recovery_steps is {steps}, but must be at least 0: give such a number, or leave it out")


def partition_options(config: PartitionConfig | None) -> dict[str, Any]:
    """The partition asked for under the names of its options; empty for None."""
    return {} if config is None else {key: getattr(config, name) for key, name in _FIELDS.items()}


def makes_model(options: PartitionOptions, training: TrainingArguments) -> bool:
    """Whether a model will be written: always but when an existing one is only evaluated or asked for predictions."""
    return training.do_train or options.variant != options.plain
