"""The options of an adapter, the same in every script."""

from dataclasses import dataclass, fields
from typing import Any

from transformers import TrainingArguments

from padnet_hf.adapters.extra import import_peft
from padnet_hf.adapters.sparse import check_sparsity
from padnet_hf.errors import PADNetError
from padnet_hf.jobs.command_line import option
from padnet_hf.method.config import PartitionConfig

_DEFAULTS = {"lora_rank": 8, "lora_alpha": 16.0, "lora_targets": None}
_SPARSE_DEFAULTS = {"adapter_criterion": "snip", "adapter_scope": "layer"}


@dataclass
class LoraOptions:
    """An adapter on top of the network, which stays as it is."""

    lora: bool = option(
        "Train a LoRA adapter on top of the network asked for; after the partition, with --use_pad.", False
    )
    lora_rank: int | None = option("Rank of the adapter's matrices (8).")
    lora_alpha: float | None = option("Scale of the adapter times its rank (16).")
    lora_targets: list[str] | None = option(
        "What is adapted: attention, feed_forward, experts, router, or names of linear layers (all there are; no "
        "experts with --granularity element)."
    )
    adapter_sparsity: float | None = option("Prune this share of the adapter before training, 0 to below 1 (none).")
    adapter_criterion: str | None = option("Score to prune by: snip, magnitude, random, or a registered one (snip).")
    adapter_scope: str | None = option("Share pruned in every layer or over all, global (layer).")

    @property
    def defaults(self) -> dict[str, Any]:
        """The options that have an effect, with the values they have if they are not given."""
        if not self.lora:
            return {}
        return _DEFAULTS | ({} if self.adapter_sparsity is None else {"adapter_sparsity": None, **_SPARSE_DEFAULTS})


def adapter_options(
    options: LoraOptions, partition: PartitionConfig | None, training: TrainingArguments
) -> dict[str, Any]:
    """What is asked for, by option, defaults filled in; empty without --lora.

    Raises PADNetError for an option without effect or out of range, or if PEFT is not installed.
    """
    defaults = options.defaults
    for name in (item.name for item in fields(options) if item.name != "lora"):
        value = getattr(options, name)
        if name not in defaults and value is not None:
            remedy = "--adapter_sparsity" if options.lora else "--lora"
            raise PADNetError(f"--{name} {value} has no effect: add {remedy}")
    asked = {
        name: default if getattr(options, name) is None else getattr(options, name)
        for name, default in defaults.items()
    }
    if "adapter_sparsity" in asked:
        check_sparsity(*(asked[f"adapter_{name}"] for name in ("sparsity", "criterion", "scope")))
    if options.lora:
        import_peft()
        _check_packed(options, partition)
        _check_training(training)
    return asked


def _check_packed(options: LoraOptions, partition: PartitionConfig | None) -> None:
    """Say at once what the partition would show."""
    if partition is None or partition.granularity == "unit" or partition.dynamic_ratio in (0, 1):
        return
    if "experts" in (options.lora_targets or ()):
        raise PADNetError(
            "--lora_targets experts cannot be adapted with --granularity element, whose values are packed and no "
            "matrices: add --granularity unit, or leave the target out"
        )


def _check_training(training: TrainingArguments) -> None:
    if not training.do_train:
        raise PADNetError("--lora makes an adapter by training it: add --do_train, or leave --lora out")
    if training.push_to_hub:
        raise PADNetError(
            "--push_to_hub cannot go with --lora, as base and adapter are two repositories: leave it out, and push "
            "both from --output_dir afterwards (docs/peft.md)"
        )
