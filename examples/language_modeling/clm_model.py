"""The language model asked for, from a checkpoint or new, and its tokenizer."""

from collections.abc import Mapping
from typing import Any

import torch
from transformers import (
    CONFIG_MAPPING,
    AutoConfig,
    AutoModelForCausalLM,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from clm_arguments import ModelArguments, PADArguments
from padnet_hf import PADNetError
from padnet_hf.jobs.adapting import base_of
from padnet_hf.jobs.loading import load_as_asked
from padnet_hf.jobs.loading import load_tokenizer as load_own_tokenizer
from padnet_hf.jobs.networks import as_network, check_family, check_network, experts_options, longest_input
from padnet_hf.jobs.refusals import as_one_error
from padnet_hf.models.registry import family_of, known_types

AUTO_CLASS = "AutoModelForCausalLM"
LACKS = "writes no text"
DEFAULT_BLOCK = 1024
_REMEDY = (
    "--model_name_or_path FOLDER reads a local folder with config.json, model.safetensors and the tokenizer's files, "
    "--tokenizer_name FOLDER one with the tokenizer's files alone"
)


def model_source(model: ModelArguments, checkpoint: str | None) -> str | None:
    """Where the model comes from: the checkpoint to resume, or what was asked for; None for a new one.

    Of a checkpoint that holds an adapter: its base, which was not trained.
    """
    return base_of(checkpoint) if checkpoint else model.model_name_or_path


def load_tokenizer(source: str | None, model: ModelArguments) -> PreTrainedTokenizerBase:
    """The tokenizer that belongs to the model, or the one asked for.

    Raises PADNetError if there is none, or if it cannot say where in a text its tokens stand.
    """
    name = model.tokenizer_name or source
    found = load_own_tokenizer(name, _REMEDY, cache_dir=model.cache_dir, revision=model.model_revision)
    if not found.is_fast:
        raise PADNetError(
            f"the tokenizer of {name!r} does not say where in a text its tokens stand, so that bits per byte cannot be "
            "counted: give one of the tokenizers library (with a tokenizer.json) with --tokenizer_name"
        )
    return found


def load_config(source: str, model: ModelArguments) -> PreTrainedConfig:
    """The configuration of the model at `source`. Raises PADNetError if there is none."""
    return load_as_asked(AutoConfig.from_pretrained, base_of(source), model, _REMEDY)


def check_model(config: PreTrainedConfig, source: str, pad: PADArguments, *, resuming: bool) -> None:
    """Raise PADNetError if the model cannot become what is asked for."""
    check_network(config, source, pad, auto_class=AUTO_CLASS, lacks=LACKS, resuming=resuming)


def new_config(model: ModelArguments, pad: PADArguments, tokenizer: PreTrainedTokenizerBase) -> PreTrainedConfig:
    """The configuration of a new model, dense or PAD, with the tokenizer's words unless they are overridden.

    Raises PADNetError for a type without a family, and for fields that there are not or that do not fit.
    """
    if model.config_name:
        stock = load_config(model.config_name, model)
    elif model.model_type in CONFIG_MAPPING:
        stock = CONFIG_MAPPING[model.model_type]()
    else:
        raise PADNetError(f"--model_type {model.model_type!r} is no type of model; {_listed_types()}")
    name = model.config_name or model.model_type
    family = check_family(stock, name, auto_class=AUTO_CLASS, lacks=LACKS)
    if not isinstance(stock, family.dense_class) or isinstance(stock, family):
        raise PADNetError(f"{name!r} is a PAD model: give its dense one, and --use_pad or --use_moe; {_listed_types()}")
    special = {f"{token}_token_id": getattr(tokenizer, f"{token}_token_id") for token in ("bos", "eos", "pad")}
    fields = {"vocab_size": len(tokenizer)} | {name: number for name, number in special.items() if number is not None}
    own = stock.to_diff_dict() if model.config_name else {}
    with as_one_error(f"--config_overrides {model.config_overrides}", "correct the field that it names"):
        dense = type(stock).from_dict({**own, **fields, **_overrides(stock, model.config_overrides)})
    return dense if pad.variant == "dense" else family.from_dense(dense, **experts_options(pad, dense))


def _listed_types() -> str:
    able = [name for name in known_types() if AUTO_CLASS in family_of(name).models]
    return f"--model_type is one of {', '.join(able)}"


def _overrides(stock: PreTrainedConfig, text: str | None) -> Mapping[str, Any]:
    """The fields in "name=value,name=value", as what the stock configuration has there.

    They are given to a new configuration, for some fields follow from others.
    """
    if not text:
        return {}
    with as_one_error(f"--config_overrides {text}", 'write it as "hidden_size=256,num_hidden_layers=4"'):
        changed = type(stock).from_dict(stock.to_dict())
        changed.update_from_string(text)
        names = [field.split("=")[0] for field in text.split(",")]
        return {name: getattr(changed, name) for name in names}


def check_words(config: PreTrainedConfig, tokenizer: PreTrainedTokenizerBase) -> None:
    """Raise PADNetError if the tokenizer has words that the model has no embedding for."""
    if len(tokenizer) > config.vocab_size:
        raise PADNetError(
            f"the tokenizer has {len(tokenizer):,} words, but the model has embeddings for {config.vocab_size:,} of "
            "them: they do not belong together; give the model's own tokenizer with --tokenizer_name"
        )


def block_length(config: PreTrainedConfig, asked: int | None) -> int:
    """Tokens of a block. Raises PADNetError if the model does not take so many."""
    longest = longest_input(config, otherwise=DEFAULT_BLOCK)
    if asked is not None and asked > longest:
        raise PADNetError(
            f"--block_size is {asked}, but this model takes at most {longest} tokens: choose a block within"
        )
    return asked or min(longest, DEFAULT_BLOCK)


def build_model(
    source: str | None, config: PreTrainedConfig, model: ModelArguments, pad: PADArguments
) -> PreTrainedModel:
    """The model, fully dynamic where a dense one is to be upcycled. Seed before: what is new starts at random.

    Without `source` all of it is new, of this configuration.
    """
    if source is None:
        built = AutoModelForCausalLM.from_config(config)
    else:
        built = load_as_asked(AutoModelForCausalLM.from_pretrained, source, model, _REMEDY, dtype=torch.float32)
    return as_network(built, pad, AUTO_CLASS)
