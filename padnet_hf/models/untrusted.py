"""What config.json may not say: a checkpoint can come from anyone, and its configuration is read before all else."""

from collections.abc import Container, Mapping
from typing import Any

from padnet_hf.errors import PADNetError

_IMPLEMENTATIONS = {"attn_implementation", "_attn_implementation", "experts_implementation", "_experts_implementation"}
_LARGEST = {"num_labels": 1_000_000, "num_hidden_layers": 1_000, "depths": 1_000}
_LARGEST_OF_ALL = 10_000_000


def check_untrusted(config: Mapping[str, Any], known: Container[str], own_names: Mapping[str, str]) -> None:
    """Raise PADNetError for code of another repository, and for sizes that no model has.

    transformers takes an implementation with a slash in its name from the Hub and runs it. A model of as many layers
    or labels as a file says would take all memory before there is anything to hold it against. What a model does not
    read, an entry of somebody's own, may be any number.

    Args:
        config: what config.json says.
        known: names that the configuration's class reads.
        own_names: transformers' usual names -> what this family calls the same (attribute_map).
    """
    for name in sorted(_IMPLEMENTATIONS & config.keys()):
        if "/" in str(config[name]):
            raise PADNetError(
                f"{name} in config.json is {config[name]!r}, code of another repository, which a checkpoint may not "
                "choose: take it out, and pass it to from_pretrained if you trust it."
            )
    usual = {own: name for name, own in own_names.items()}
    for name, value in config.items():
        if name not in known and name not in own_names and name not in _LARGEST:
            continue
        largest = _LARGEST.get(usual.get(name, name), _LARGEST_OF_ALL)
        for number in value if isinstance(value, list) else [value]:
            if isinstance(number, int) and abs(number) > largest:
                raise PADNetError(f"{name} in config.json is {value!r}, but must not be beyond {largest:,}.")
