"""Which of the three networks a model is, and whether it can become the one that is asked for."""

from collections.abc import Mapping
from typing import Any

from transformers import PreTrainedConfig

from padnet_hf.errors import PADNetError


def needs_upcycling(
    source: str,
    config: PreTrainedConfig,
    *,
    own: str,
    asked: str,
    plain: str,
    option: str,
    given: Mapping[str, Any],
    resuming: bool,
) -> bool:
    """Whether the plain model at `source` has to be upcycled. Raises PADNetError if it cannot become what is asked for.

    Args:
        own, asked: `plain`, "fully dynamic" or "partitioned".
        plain: what the network without dynamic layers is called.
        option: what asks for a dynamic network.
        given: fields of the configuration that were given as options, by name.
        resuming: whether `source` is a checkpoint to continue from.
    """
    if resuming and asked not in (own, plain):  # a model that was dynamic before its first run is taken as it is
        raise PADNetError(
            f"checkpoint {source!r} is {own}, but asked for is {asked}: resume with the options of the first run"
        )
    if asked == plain or resuming:
        return False
    if own == "partitioned":
        raise PADNetError(
            f"{source!r} is partitioned already (dynamic_ratio {config.partition.get('dynamic_ratio')}): leave out "
            f"{option} to use it as it is, or start from its {plain} or fully dynamic model"
        )
    if own == "fully dynamic":
        for name, value in given.items():
            found = getattr(config, name)
            if value != found:
                raise PADNetError(f"--{name} is {value}, but {source!r} has {found}: leave out --{name}")
    return own == plain
