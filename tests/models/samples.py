"""A small model of every family and head, and inputs for it: what the suites over all families run on."""

from collections.abc import Iterable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from padnet_hf.method.layer import pad_weights
from padnet_hf.models.known import KNOWN
from padnet_hf.models.pad_config import PADConfigMixin
from padnet_hf.models.pad_model import PADModelMixin
from padnet_hf.models.registry import family_of

_TEXT = {"vocab_size": 60, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
_TEXT |= {"max_position_embeddings": 20, "pad_token_id": 0}
_OFFSET = _TEXT | {"max_position_embeddings": 22, "pad_token_id": 1, "type_vocab_size": 1}
_EMBEDDED = _TEXT | {"embedding_size": 8}
_RELATIVE = {"relative_attention": True, "position_buckets": 8, "pos_att_type": ["p2c", "c2p"], "conv_kernel_size": 3}
_CAUSAL = _TEXT | {"num_attention_heads": 4, "num_key_value_heads": 2, "bos_token_id": 2, "eos_token_id": 3}
_WINDOW = {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 1}
_VIT = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
_RESNET = {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [2, 1], "layer_type": "basic"}

FIELDS: dict[str, dict[str, Any]] = {
    "albert": _EMBEDDED,
    "bert": _TEXT,
    "camembert": _OFFSET,
    "deberta-v2": _TEXT | _RELATIVE,
    "distilbert": {
        **{name: _TEXT[name] for name in ("vocab_size", "max_position_embeddings", "pad_token_id")},
        "dim": 16,
        "hidden_dim": 24,
        "n_layers": 2,
        "n_heads": 2,
    },
    "electra": _EMBEDDED,
    "llama": _CAUSAL | {"mlp_bias": True},
    "mistral": _CAUSAL | {"sliding_window": 4},
    "mixtral": _CAUSAL,
    "mobilenet_v2": {"depth_multiplier": 0.25, "image_size": 32, "min_depth": 8},
    "modernbert": _TEXT
    | {"mlp_dropout": 0.1, "local_attention": 4, "bos_token_id": 2, "eos_token_id": 3}
    | {"cls_token_id": 2, "sep_token_id": 3},
    "olmoe": _CAUSAL | {"num_experts_per_tok": 2, "norm_topk_prob": False},
    "qwen2": _CAUSAL | _WINDOW | {"tie_word_embeddings": True},
    "qwen3": _CAUSAL | {"head_dim": 8},
    "qwen3_moe": _CAUSAL
    | {"head_dim": 8, "moe_intermediate_size": 24, "num_experts_per_tok": 2, "norm_topk_prob": True},
    "resnet": _RESNET | {"image_size": 32},
    "roberta": _OFFSET,
    "vit": _VIT | {"image_size": 16, "patch_size": 4},
    "xlm-roberta": _OFFSET,
}
"""Model type of the dense model -> fields of a small configuration."""

SIBLINGS = ("camembert", "mistral", "qwen2", "qwen3", "qwen3_moe", "xlm-roberta")
"""Families whose layers and heads are those of roberta, llama and mixtral by other names."""

MIXTURES = tuple(dense for dense in KNOWN if family_of(dense).seam.has_copies)
"""Families of trained mixtures: the stock model has the copies, its router and its loss."""

UPCYCLED = tuple(dense for dense in KNOWN if family_of(dense).copies == "experts" and dense not in MIXTURES)
"""Families whose dense networks become experts, with a router of ours."""

COPIES = {"experts": {"num_experts": 4}, "kernels": {"num_kernels": 3, "reduction": 4}}

MODELS = [(dense, auto_class) for dense in KNOWN for auto_class in family_of(dense).models]
"""Every class of every family, as its family's dense model type and its Auto class."""

IDS = [family_of(dense).models[auto_class].__name__ for dense, auto_class in MODELS]
BARE = [(dense, auto_class) for dense, auto_class in MODELS if auto_class in ("AutoModel", "AutoBackbone")]
HEADS = [pair for pair in MODELS if pair not in BARE]


def siblings_later(families: Iterable[str]) -> list[Any]:
    """Values of a parameter: families, of which SIBLINGS are left to `make test-thorough`, for tests that take long."""
    return [pytest.param(name, marks=pytest.mark.thorough) if name in SIBLINGS else name for name in families]


CLASSIFYING = tuple(d for d in KNOWN if any(name.endswith("eClassification") for name in family_of(d).models))
"""Families with a classifier of texts or images; transformers has none of OLMoE."""


def classifier_of(dense: str) -> str:
    """The Auto class of the family's classifier of texts or images, or, where there is none, of its language model."""
    heads = ("AutoModelForSequenceClassification", "AutoModelForImageClassification", "AutoModelForCausalLM")
    return next(head for head in heads if head in family_of(dense).models)


def pad_class(dense: str, auto_class: str) -> type[PADModelMixin]:
    """The PAD class."""
    return family_of(dense).models[auto_class]


def small_config(dense: str, auto_class: str = "AutoModel", **changed: Any) -> PADConfigMixin:
    """A small PAD configuration of the family, for three labels where that is possible."""
    config = family_of(dense)
    num_labels = 2 if auto_class == "AutoModelForQuestionAnswering" else 3
    return config(**{**FIELDS[dense], **COPIES[config.copies], "num_labels": num_labels, **changed})


def small_dense(dense: str, auto_class: str, seed: int = 0, **changed: Any) -> PreTrainedModel:
    """A stock model of the family in evaluation mode, biases and norms random too."""
    torch.manual_seed(seed)
    model = pad_class(dense, auto_class).dense_class(small_config(dense, auto_class, **changed).to_dense()).eval()
    return scattered(model)


def small_pad(dense: str, auto_class: str, seed: int = 0, **changed: Any) -> PADModelMixin:
    """A fully dynamic model in evaluation mode, every copy and all else random."""
    torch.manual_seed(seed)
    return scattered(pad_class(dense, auto_class)(small_config(dense, auto_class, **changed)).eval())


@torch.no_grad()
def with_equal_copies(stock: PreTrainedModel) -> PreTrainedModel:
    """The model; of a trained mixture, one whose experts are all the first one, as those of upcycled models are."""
    for name, parameter in stock.named_parameters():
        if ".experts." in name:
            parameter.copy_(parameter[:1].expand_as(parameter))
    return stock


@torch.no_grad()
def scattered(model: Any) -> Any:
    """The model with every parameter moved by noise, and statistics of batch norms that are not the initial ones."""
    generator = torch.Generator().manual_seed(5)
    for parameter in model.parameters():
        parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.1)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.copy_(torch.randn(module.running_mean.shape, generator=generator) / 10)
            module.running_var.copy_(torch.rand(module.running_var.shape, generator=generator) + 0.5)
    return model


def inputs_of(model: PreTrainedModel, batch: int = 3, length: int = 7, seed: int = 1) -> dict[str, Tensor]:
    """Inputs without labels: images, or tokens of which the ends of most rows are padding."""
    generator, config = torch.Generator().manual_seed(seed), model.config
    if model.main_input_name == "pixel_values":
        return {"pixel_values": torch.randn(batch, config.num_channels, 16, 16, generator=generator)}
    shape = (batch, 2, length) if "MultipleChoice" in type(model).__name__ else (batch, length)
    used = torch.randint(2, length + 1, (*shape[:-1], 1), generator=generator)
    used[0] = length
    mask = torch.arange(length) < used
    ids = torch.randint(4, config.vocab_size, shape, generator=generator)
    return {"input_ids": ids.masked_fill(~mask, config.pad_token_id), "attention_mask": mask.long()}


def labels_of(model: PreTrainedModel, inputs: dict[str, Tensor], seed: int = 2) -> dict[str, Tensor]:
    """Labels as the model's forward takes them; none for a bare model."""
    generator, name = torch.Generator().manual_seed(seed), type(model).__name__
    first = next(iter(inputs.values()))

    def drawn(high: int, shape: Any) -> Tensor:
        return torch.randint(high, shape, generator=generator)

    if name.endswith("ForQuestionAnswering"):
        return {key: drawn(2, (len(first),)) for key in ("start_positions", "end_positions")}
    if name.endswith("ForMultipleChoice"):
        return {"labels": drawn(2, (len(first),))}
    if name.endswith("ForMaskedLM"):
        return {"labels": drawn(model.config.vocab_size, first.shape)}
    if name.endswith("ForCausalLM"):
        return {"labels": first.masked_fill(inputs["attention_mask"] == 0, -100)}
    if name.endswith("ForTokenClassification"):
        return {"labels": drawn(model.config.num_labels, first.shape)}
    return {"labels": drawn(model.config.num_labels, (len(first),))} if name.endswith("Classification") else {}


def outputs_of(model: PreTrainedModel, **inputs: Tensor) -> list[Tensor]:
    """What the head, or the bare model, gives for these inputs: logits, features or hidden states."""
    output = model(**inputs)
    names = ("logits", "start_logits", "end_logits", "last_hidden_state", "pooler_output", "feature_maps")
    found = [output[name] for name in names if output.get(name) is not None]
    return [tensor for value in found for tensor in ((value,) if isinstance(value, Tensor) else value)]


@torch.no_grad()
def set_apart(model: PADModelMixin, seed: int = 3) -> PADModelMixin:
    """The model with copies, static values and scale factors moved apart by noise, as training does."""
    generator = torch.Generator().manual_seed(seed)
    for weight in pad_weights(model).values():
        for parameter in weight.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator).to(parameter), alpha=0.2)
    return model
