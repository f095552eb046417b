"""The forms a PAD model can have: fully dynamic, and partitioned by element or by unit."""

from functools import cache
from typing import Any

import torch
from torch import Tensor

from padnet_hf import (
    PADBertConfig,
    PADBertModel,
    PADResNetConfig,
    PADResNetModel,
    PartitionConfig,
    partition,
    register_criterion,
)

FORMS = ("dynamic", "element", "unit")


@register_criterion("first", needs_gradients=False)
def first(copies: Tensor, gradients: Tensor | None, generator: torch.Generator) -> Tensor:
    """Every element counts the same, and ties go to the lower position.

    So the masks are those that a new model of a partitioned configuration begins with, and their hash in the
    configuration is true of it: the suite makes new models from configurations, saves and loads them.
    """
    return torch.ones_like(copies[0])


def tiny_bert(form: str) -> PADBertConfig:
    """Sizes are multiples of 8, which grouped_mm needs; the router starts apart from 0, so that tokens part."""
    return PADBertConfig.from_dict(_in_form("bert", form))


def tiny_resnet(form: str) -> PADResNetConfig:
    """Four stages, as the names in transformers' tests of backbones have it."""
    return PADResNetConfig.from_dict(_in_form("resnet", form))


@cache
def _in_form(family: str, form: str) -> dict[str, Any]:
    """What config.json would have."""
    model = MODELS[family]()
    if form != "dynamic":
        config = PartitionConfig(dynamic_ratio=0.5, granularity=form, criterion="first", scope="layer")
        partition(model, config=config, progress=False)
    return model.config.to_dict()


def _bert() -> PADBertModel:
    return PADBertModel(
        PADBertConfig(
            vocab_size=99,
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=64,
            max_position_embeddings=64,
            num_experts=4,
            router_init_std=0.5,
            num_labels=2,
        )
    )


def _resnet() -> PADResNetModel:
    return PADResNetModel(
        PADResNetConfig(
            embedding_size=8,
            hidden_sizes=[16, 16, 24, 24],
            depths=[1, 1, 2, 1],
            layer_type="basic",
            image_size=32,
            num_labels=2,
            out_features=["stage2", "stage3", "stage4"],
        )
    )


MODELS = {"bert": _bert, "resnet": _resnet}
