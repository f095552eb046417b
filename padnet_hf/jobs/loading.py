"""Loading from the Hub or a folder, with an error that says what to do."""

from collections.abc import Callable
from typing import Any

from safetensors import SafetensorError

from padnet_hf.errors import PADNetError


def load_or_explain(loader: Callable[..., Any], source: str, remedy: str, **fields: Any) -> Any:
    """`loader(source, **fields)`; what transformers says in many ways becomes one PADNetError with the remedy."""
    try:
        return loader(source, **fields)
    except PADNetError:
        raise
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:300]
        raise PADNetError(f"cannot load {source!r}: {reason}; {remedy}") from error
