"""What shorter texts of a batch are filled up with: one token, the same for the tokenizer and for the model."""

import logging

from transformers import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING, PreTrainedConfig, PreTrainedTokenizerBase
from transformers.modeling_layers import GenericForSequenceClassification

from padnet_hf.errors import PADNetError

logger = logging.getLogger(__name__)


def agree_on_padding(tokenizer: PreTrainedTokenizerBase, config: PreTrainedConfig) -> dict[str, int]:
    """Give the tokenizer a token to pad with, and return what to change in the model's configuration for it.

    Language models are made without padding. As classifiers they look at the last token that is not the padding of
    their configuration, and at padding itself if the tokenizer has another one: there the model decides. Where neither
    knows one it is the end of text, which is said in the log.
    Raises PADNetError for a tokenizer without that, too.
    """
    own = config.get_text_config().pad_token_id
    is_known = own is not None and 0 <= own < len(tokenizer)
    looks_for_it = _looks_for_padding(config)
    if is_known and (tokenizer.pad_token is None or looks_for_it):
        tokenizer.pad_token = tokenizer.convert_ids_to_tokens(own)
    elif tokenizer.pad_token is None:
        _pad_with_end_of_text(tokenizer)
    must_change = own is None or (looks_for_it and own != tokenizer.pad_token_id)
    return {"pad_token_id": tokenizer.pad_token_id} if must_change else {}


def _pad_with_end_of_text(tokenizer: PreTrainedTokenizerBase) -> None:
    if tokenizer.eos_token is None:
        raise PADNetError(
            "the tokenizer has neither a pad_token nor an eos_token, so texts of different lengths make no batch: set "
            "one in its tokenizer_config.json."
        )
    tokenizer.pad_token = tokenizer.eos_token
    logger.warning("the tokenizer has no pad_token: texts are padded with its eos_token, %r", tokenizer.eos_token)


def _looks_for_padding(config: PreTrainedConfig) -> bool:
    """Whether the model's classifier finds the end of a text by the padding behind it."""
    known = MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING
    return type(config) in known and issubclass(known[type(config)], GenericForSequenceClassification)
