"""Configurations from those of dense models, and back."""

from typing import Any

from transformers.configuration_utils import PreTrainedConfig

from padnet_hf.errors import PADNetError

_IDENTITY = ("model_type", "architectures", "transformers_version", "_name_or_path")
_LABELS = ("num_labels", "id2label", "label2id")


def dense_fields(dense: PreTrainedConfig, pad_class: type[PreTrainedConfig], fields: dict[str, Any]) -> dict[str, Any]:
    """Fields of `dense` with `fields` set or changed, for `pad_class`. Raises PADNetError for one it does not have."""
    default = pad_class()
    if unknown := sorted(name for name in fields if not hasattr(default, name)):
        raise PADNetError(
            f"{pad_class.__name__} has no field {unknown[0]!r}; its fields are those of {type(dense).__name__} and "
            f"{', '.join(pad_class.__annotations__)}."
        )
    known = dense.to_dict()
    for name in _IDENTITY:
        known.pop(name, None)
    if fields.keys() & set(_LABELS):
        for name in _LABELS[1:]:
            known.pop(name, None)
    return known | fields


def stock_fields(config: PreTrainedConfig, pad_class: type[PreTrainedConfig]) -> dict[str, Any]:
    """Fields of a PAD configuration without those that `pad_class` adds."""
    known = config.to_dict()
    for name in (*_IDENTITY, *pad_class.__annotations__):
        known.pop(name, None)
    return known
