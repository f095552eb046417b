"""Loading from the Hub or a folder, with an error that says what to do."""

from collections.abc import Callable
from typing import Any

import transformers
from safetensors import SafetensorError
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from padnet_hf.errors import PADNetError
from padnet_hf.jobs.refusals import as_one_error

_OF_DAMAGED_FILES = (OSError, ValueError, RuntimeError, SafetensorError)
"""What may be raised anywhere, by a line of this package too, when a file holds something else than it should."""


def load_or_explain(loader: Callable[..., Any], source: str, remedy: str, **fields: Any) -> Any:
    """`loader(source, **fields)`; what transformers says in many ways becomes one PADNetError with the remedy."""
    with as_one_error(f"cannot load {source!r}", remedy, always=_OF_DAMAGED_FILES):
        return loader(source, **fields)


def load_as_asked(loader: Callable[..., Any], source: str, options: Any, remedy: str, **fields: Any) -> Any:
    """`load_or_explain` with what a script's options say of the Hub: `cache_dir` and `model_revision`."""
    return load_or_explain(
        loader, source, remedy, cache_dir=options.cache_dir, revision=options.model_revision, **fields
    )


def load_tokenizer(source: str, remedy: str, **fields: Any) -> PreTrainedTokenizerBase:
    """The tokenizer at `source`. Raises PADNetError if there is none, also where transformers makes one up.

    Without the files of a vocabulary transformers takes what the class has without any: special tokens, and perhaps a
    few pieces. To such a tokenizer every text is the same.
    """
    found = load_or_explain(AutoTokenizer.from_pretrained, source, remedy, **fields)
    if is_made_up(found):
        raise PADNetError(
            f"cannot load {source!r}: it has no tokenizer, for the files of a vocabulary "
            f"({', '.join(found.vocab_files_names.values())}) are missing or empty; {remedy}"
        )
    return found


def is_made_up(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether its class needs files, and its vocabulary is no more than the class has without any."""
    if not tokenizer.vocab_files_names:
        return False
    try:
        without_files = set(type(tokenizer)().get_vocab())
    except (ValueError, TypeError, ImportError, OSError):  # the class needs its files
        without_files = set()
    added = without_files.union(tokenizer.all_special_tokens, tokenizer.get_added_vocab())
    return set(tokenizer.get_vocab()) <= added


def load_processing(auto_class: str, source: str) -> Any:
    """The tokenizer or image processor saved beside a model; `auto_class` is "AutoTokenizer" or "AutoImageProcessor".

    Raises PADNetError if there is none.
    """
    remedy = f"save the one for {auto_class} beside the model"
    if auto_class == "AutoTokenizer":
        return load_tokenizer(source, remedy)
    return load_or_explain(getattr(transformers, auto_class).from_pretrained, source, remedy)
