"""What text-embeddings-inference reads beside a graph: pooling, longest input, configuration, tokenizer.

Names are those in that server's source (July 2026: router/src/lib.rs, backends/ort/src/lib.rs). It takes the graph from
`onnx/model.onnx`, `last_hidden_state` from a model without a head, and `logits` from a classifier of texts.
"""

import json
import logging
from pathlib import Path
from typing import Any

from transformers import BaseImageProcessor, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import CONFIG_NAME, cached_file

from padnet_hf.errors import PADNetError
from padnet_hf.export.program import longest_input
from padnet_hf.hub.whole_files import write_json

logger = logging.getLogger(__name__)

POOLINGS = {"mean": "mean_tokens", "cls": "cls_token", "lasttoken": "lasttoken"}
"""sentence-transformers' name of a pooling -> what the server calls it, after `pooling_mode_`."""

_POOLING_FILE = "1_Pooling/config.json"

_SERVED_MODULES = ("Transformer", "Pooling", "Normalize")
"""Of a sentence-transformers model; the server normalizes by itself."""


def check_served(architecture: str, pooling: str | None) -> None:
    """Raise PADNetError for a model that the server has no task for, and for a pooling that it does not know."""
    if architecture.endswith("ForSequenceClassification"):
        if pooling is not None:
            raise PADNetError(f"the pooling is {pooling!r}, but {architecture} is a classifier: leave it out.")
        return
    if not architecture.endswith("Model"):
        raise PADNetError(
            f"text-embeddings-inference takes classifiers of texts and models without a head, not {architecture}: load "
            "the checkpoint with AutoModel, and save that first."
        )
    if pooling not in POOLINGS:
        raise PADNetError(
            f"the pooling is {pooling!r}, but must be one of {', '.join(POOLINGS)}: {architecture} has no head, so "
            "this says how the vectors of tokens become the one of a text."
        )


def check_tokenizer(processing_class: PreTrainedTokenizerBase | BaseImageProcessor | None) -> None:
    """Raise PADNetError unless it is a tokenizer that can be written as a tokenizer.json."""
    if not getattr(processing_class, "is_fast", False):
        given = "there is none" if processing_class is None else f"it is {type(processing_class).__name__}"
        raise PADNetError(
            f"text-embeddings-inference serves texts, and needs a tokenizer with a tokenizer.json, but {given}: save a "
            "fast tokenizer beside the model."
        )


def pooling_beside(source: str) -> str | None:
    """The pooling of a sentence-transformers model in a folder or repository, None if it is not one.

    Raises PADNetError if the model does more than the server does.
    """
    modules = _read(source, "modules.json") or []
    others = [name for one in modules if (name := one["type"].rpartition(".")[2]) not in _SERVED_MODULES]
    if others:
        raise PADNetError(
            f"{source!r} has the module {others[0]}, which text-embeddings-inference leaves out of ONNX models: export "
            f"one with {', '.join(_SERVED_MODULES)} alone."
        )
    prompts = (_read(source, "config_sentence_transformers.json") or {}).get("prompts", {})
    if any(prompts.values()):
        logger.warning(
            "%s has prompts, which are left out: start the server with --default-prompt, %s", source, prompts
        )
    config = _read(source, _POOLING_FILE)
    if config is None:
        return None
    modes = config.get("pooling_mode") or [name for name, key in POOLINGS.items() if config.get(f"pooling_mode_{key}")]
    return modes if isinstance(modes, str) else "+".join(modes)


def _read(source: str, name: str) -> Any:
    found = cached_file(source, name, _raise_exceptions_for_missing_entries=False)
    return None if found is None else json.loads(Path(found).read_text(encoding="utf-8"))


def write_beside(folder: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, pooling: str | None) -> None:
    """Complete a folder with configuration and tokenizer in it for the server."""
    config, path = model.config, folder / CONFIG_NAME
    needed = {"architectures": [type(model).__name__], "id2label": config.id2label, "label2id": config.label2id}
    needed |= {name: getattr(config, name) for name in ("hidden_size", "num_hidden_layers", "pad_token_id")}
    write_json(path, json.loads(path.read_text(encoding="utf-8")) | needed)
    longest = min(longest_input(model), tokenizer.model_max_length)
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": longest})
    if pooling is not None:
        modes = {f"pooling_mode_{key}": name == pooling for name, key in POOLINGS.items()}
        write_json(folder / _POOLING_FILE, {"word_embedding_dimension": config.hidden_size} | modes)
