"""Dense, fully dynamic or partitioned: which of them a model of texts is, what it may become, and how large each is."""

from typing import Any

import torch
from transformers import PreTrainedConfig, PreTrainedModel

from padnet_hf.errors import PADNetError
from padnet_hf.jobs.adapting import is_adapter
from padnet_hf.jobs.layer_options import ExpertOptions, layer_fields
from padnet_hf.jobs.variants import needs_upcycling
from padnet_hf.method.report import PartitionReport
from padnet_hf.models.moe_config import PADMoEConfig
from padnet_hf.models.pad_config import PADConfigMixin
from padnet_hf.models.registry import family_of, has_family


def variant_of(config: PreTrainedConfig) -> str:
    """`dense`, `fully dynamic` or `partitioned`: what the model is, whatever was asked for."""
    if not isinstance(config, PADConfigMixin):
        return "dense"
    return "fully dynamic" if config.partition is None else "partitioned"


def experts_options(pad: ExpertOptions, config: PreTrainedConfig | None = None) -> dict[str, Any]:
    """The fields of PADMoEConfig that are options, defaults filled in; empty for a dense network.

    And for the configuration of a trained mixture, which has none. Raises PADNetError for an option that it lacks.
    """
    return layer_fields(pad, PADMoEConfig if config is None else family_of(config.model_type))


def check_network(
    config: PreTrainedConfig, source: str, pad: ExpertOptions, *, auto_class: str, lacks: str, resuming: bool
) -> None:
    """Raise PADNetError if the model at `source` cannot become what is asked for.

    Args:
        auto_class: of the head that is needed.
        lacks: what a family without that head cannot do, "classifies no text" for instance.
        resuming: whether `source` is a checkpoint to continue from.
    """
    option, own = "--use_pad" if pad.use_pad else f"--{pad.dynamic_option}", variant_of(config)
    if pad.variant == "dense" and own == "dense" and pad.experts_implementation:
        raise PADNetError(
            f"--experts_implementation {pad.experts_implementation} has no effect on a dense network: add --use_pad or "
            f"--{pad.dynamic_option}"
        )
    options = experts_options(pad, config if has_family(config.model_type) else None)
    given = {name: value for name, value in options.items() if getattr(pad, name) is not None}
    if needs_upcycling(
        source, config, own=own, asked=pad.variant, plain="dense", option=option, given=given, resuming=resuming
    ):
        check_family(config, source, auto_class=auto_class, lacks=lacks).from_dense(config, **options)


def check_family(config: PreTrainedConfig, source: str, *, auto_class: str, lacks: str) -> type[PADConfigMixin]:
    """The family of models of this configuration. Raises PADNetError if there is none, or if it lacks the head."""
    family = family_of(config.model_type)
    if auto_class not in family.models:
        raise PADNetError(
            f"{source!r} is a model of type {config.model_type!r}, which {lacks}: choose another one with "
            "--model_name_or_path"
        )
    return family


def longest_input(config: PreTrainedConfig, otherwise: int) -> int:
    """The most tokens of a text that a model of this configuration takes; `otherwise` if it sets no limit."""
    if has_family(config.model_type):
        return family_of(config.model_type).longest_input(config)
    return getattr(config, "max_position_embeddings", otherwise)


def check_adapter(source: str, *, making: bool) -> None:
    """Raise PADNetError if the source is an adapter, and not only to be evaluated."""
    if making and is_adapter(source):
        raise PADNetError(
            f"{source!r} holds an adapter, which can be evaluated here, but not trained on: merge it into its base "
            "(merge_and_unload, then save_pretrained), and start from that"
        )


def as_network(model: PreTrainedModel, pad: ExpertOptions, auto_class: str, **origin: str) -> PreTrainedModel:
    """The model that was asked for: a dense one upcycled if it is to be dynamic, its experts computed as asked.

    `origin` goes to `from_dense`.
    """
    if variant_of(model.config) == "dense" and pad.variant != "dense":
        pad_class = family_of(model.config.model_type).models[auto_class]
        model = pad_class.from_dense(model, **origin, **experts_options(pad, model.config))
    if pad.experts_implementation:
        model.set_experts_implementation(pad.experts_implementation)
    return model


def size_report(model: PreTrainedModel, auto_class: str) -> PartitionReport | None:
    """Sizes of the model in its three forms; for a dense one those it would have by default, None without a family."""
    if isinstance(model.config, PADConfigMixin):
        return model.partition_report()
    if not has_family(model.config.model_type):
        return None
    family = family_of(model.config.model_type)
    with torch.device("meta"):
        return family.models[auto_class](family.from_dense(model.config)).partition_report()
