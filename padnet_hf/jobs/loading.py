"""Loading from the Hub or a folder, with an error that says what to do."""

from collections.abc import Callable
from typing import Any

import transformers
from safetensors import SafetensorError
from transformers import PreTrainedTokenizerBase

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


def load_processing(auto_class: str, source: str) -> Any:
    """The tokenizer or image processor saved beside a model; `auto_class` is "AutoTokenizer" or "AutoImageProcessor".

    Raises PADNetError if there is none. Without its files transformers makes up a tokenizer that knows special tokens
    alone, to which every text is the same: that is none.
    """
    remedy = f"save the one for {auto_class} beside the model"
    found = load_or_explain(getattr(transformers, auto_class).from_pretrained, source, remedy)
    if isinstance(found, PreTrainedTokenizerBase) and set(found.get_vocab()) <= set(found.all_special_tokens):
        raise PADNetError(f"cannot load {source!r}: it has no tokenizer; {remedy}")
    return found
