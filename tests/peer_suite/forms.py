"""Small configurations of every family, in every form a PAD model can have: fully dynamic, or partitioned."""

from functools import cache
from typing import Any

import torch
from torch import Tensor

from padnet_hf import PartitionConfig, partition, register_criterion
from padnet_hf.method.criteria import Scored
from padnet_hf.models.known import KNOWN
from padnet_hf.models.pad_config import PADConfigMixin
from padnet_hf.models.registry import family_of
from tests.models.samples import MIXTURES, SIBLINGS

FORMS = ("dynamic", "element", "unit")

IN_FULL = ("bert", "modernbert", "resnet")
"""Families tested in every form: plain and gated feed-forward networks, and convolutions."""

FEW = ("AutoModel", "AutoBackbone", "AutoModelForMaskedLM", "AutoModelForCausalLM", "AutoModelForImageClassification")
"""The bare model and a head: what is tested of siblings, and of IN_FULL in its further forms."""

_IN_TURN = sorted(KNOWN, key=MIXTURES.__contains__)
FORM = {dense: FORMS[1 + number % 2] for number, dense in enumerate(_IN_TURN)} | dict.fromkeys(IN_FULL, "element")
"""Model type of the dense model -> the form of all its tested classes; the partitioned ones in turn."""


def is_default(dense: str, auto_class: str, form: str) -> bool:
    """Whether a class is tested in this form without --all-forms."""
    if form != FORM[dense] and dense not in IN_FULL:
        return False
    return auto_class in FEW or (form == FORM[dense] and dense not in (*SIBLINGS, *MIXTURES))


# Sizes are multiples of 8, which grouped_mm needs; training to know a batch by heart takes 64 positions.
_TEXT = {"vocab_size": 99, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
_TEXT |= {"max_position_embeddings": 64}
_OFFSET = _TEXT | {"max_position_embeddings": 66, "type_vocab_size": 2}
_RELATIVE = {"relative_attention": True, "position_buckets": 8, "pos_att_type": ["p2c", "c2p"], "type_vocab_size": 2}
_SPECIAL = {"pad_token_id": 0, "bos_token_id": 1, "cls_token_id": 1, "eos_token_id": 2, "sep_token_id": 2}
_CAUSAL = _TEXT | {"num_key_value_heads": 2, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
_DISTILLED = {"dim": 32, "hidden_dim": 64, "n_layers": 2, "n_heads": 4}
_VIT = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
_RESNET = {"embedding_size": 8, "hidden_sizes": [16, 16, 24, 24], "depths": [1, 1, 2, 1], "layer_type": "basic"}

FIELDS: dict[str, dict[str, Any]] = {
    "albert": _TEXT | {"embedding_size": 24},
    "bert": _TEXT,
    "camembert": _OFFSET,
    "deberta-v2": _TEXT | _RELATIVE | {"conv_kernel_size": 3},
    "distilbert": {"vocab_size": 99, "max_position_embeddings": 64} | _DISTILLED,
    "electra": _TEXT | {"embedding_size": 24},
    "llama": _CAUSAL,
    "mistral": _CAUSAL,
    "mixtral": _CAUSAL | {"head_dim": 8},
    "mobilenet_v2": {"depth_multiplier": 0.25, "min_depth": 8, "image_size": 32},
    "modernbert": _TEXT | _SPECIAL | {"local_attention": 8},
    "olmoe": _CAUSAL | {"num_experts_per_tok": 2},
    "qwen2": _CAUSAL,
    "qwen3": _CAUSAL | {"head_dim": 8},
    "qwen3_moe": _CAUSAL | {"head_dim": 8, "moe_intermediate_size": 64, "num_experts_per_tok": 2},
    "resnet": _RESNET | {"image_size": 32, "out_features": ["stage2", "stage3", "stage4"]},
    "roberta": _OFFSET,
    "vit": _VIT | {"image_size": 16, "patch_size": 4},
    "xlm-roberta": _OFFSET,
}
"""Model type of the dense model -> fields of a small configuration; ResNet's four stages as tests of backbones ask."""

# A router of ours starts apart from 0, so that tokens part.
_COPIES = {"experts": {"num_experts": 4, "router_init_std": 0.5}, "kernels": {}} | {
    dense: {"num_experts": 4} for dense in MIXTURES
}


@register_criterion("first", needs_gradients=False)
def first(weight: Scored) -> Tensor:
    """Every element counts the same, and ties go to the lower position.

    So the masks are those that a new model of a partitioned configuration begins with, and their hash in the
    configuration is true of it: the suite makes new models from configurations, saves and loads them.
    """
    return torch.ones_like(weight.copies[0])


def tiny_config(dense: str, form: str) -> PADConfigMixin:
    """A new configuration of the family, as one is loaded."""
    return family_of(dense).from_dict(_in_form(dense, form))


@cache
def _in_form(dense: str, form: str) -> dict[str, Any]:
    """What config.json would have."""
    family = family_of(dense)
    model = family.models["AutoModel"](
        family(**FIELDS[dense], **_COPIES.get(dense, _COPIES[family.copies]), num_labels=2)
    )
    if form != "dynamic":
        config = PartitionConfig(dynamic_ratio=0.5, granularity=form, criterion="first", scope="layer")
        partition(model, config=config, progress=False)
    return model.config.to_dict()
