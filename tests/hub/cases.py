"""Small PAD models, each from a small dense one, as both the tests and the clients in processes of their own make them.

Imports torch and the package: a client that must not import it gets what it needs in files.
"""

from collections.abc import Mapping
from os import PathLike

import torch
from torch import Tensor
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    PreTrainedModel,
    ResNetConfig,
    ResNetForImageClassification,
    set_seed,
)

from padnet_hf import PADBertForSequenceClassification, PADResNetForImageClassification, PartitionConfig, partition

CASES = {
    "bert-element": ("bert", PartitionConfig(dynamic_ratio=0.5, num_rounds=2)),
    "bert-unit": ("bert", PartitionConfig(dynamic_ratio=0.25, granularity="unit", num_rounds=1)),
    "bert-full": ("bert", None),
    "resnet-element": ("resnet", PartitionConfig(dynamic_ratio=0.3, num_rounds=1)),
    "resnet-unit": ("resnet", PartitionConfig(dynamic_ratio=0.5, granularity="unit", criterion="magnitude")),
    "resnet-full": ("resnet", None),
}
"""Name -> family, and how it is partitioned; None: not at all."""

_PAPERS_ROUTER = {"router_noise": True, "router_init_std": 0.0}
"""Routers of zero: processes that drew other numbers before make the same model."""

COPIES = {"bert": {"num_experts": 4, **_PAPERS_ROUTER}, "resnet": {"num_kernels": 3}}


def make_dense(family: str) -> PreTrainedModel:
    """A stock model with the weights of seed 0; large enough that a file's header is below 1 % of it."""
    set_seed(0)
    if family == "bert":
        sizes = {"hidden_size": 64, "num_attention_heads": 4, "intermediate_size": 256, "num_hidden_layers": 2}
        return BertForSequenceClassification(BertConfig(vocab_size=120, num_labels=3, **sizes)).eval()
    sizes = {"embedding_size": 16, "hidden_sizes": [64, 128], "depths": [1, 1], "layer_type": "basic"}
    return ResNetForImageClassification(ResNetConfig(num_labels=3, **sizes)).eval()


def make_batch(family: str) -> dict[str, Tensor]:
    """Three labelled samples."""
    generator = torch.Generator().manual_seed(1)
    labels = torch.tensor([2, 0, 1])
    if family == "bert":
        return {"input_ids": torch.randint(5, 120, (3, 9), generator=generator), "labels": labels}
    return {"pixel_values": torch.randn(3, 3, 40, 48, generator=generator), "labels": labels}


def make_model(name: str, dense: PreTrainedModel | str | PathLike[str] | None = None) -> PreTrainedModel:
    """The PAD model of a case, its copies and scales apart as after training; from `dense`, made here unless given."""
    family, config = CASES[name]
    pad_class = {"bert": PADBertForSequenceClassification, "resnet": PADResNetForImageClassification}[family]
    model = pad_class.from_dense(make_dense(family) if dense is None else dense, **COPIES[family])
    if config is not None:
        partition(model, [make_batch(family)], config, progress=False)
    return moved(model)


def moved(model: PreTrainedModel, seed: int = 1) -> PreTrainedModel:
    """Stands for training: moves every parameter a little."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.03 * torch.randn(parameter.shape, generator=generator).to(parameter)
    return model.eval()


def logits_of(model: PreTrainedModel, batch: Mapping[str, Tensor]) -> Tensor:
    """Logits that do not depend on where the file put the tensors: a kernel's rounding depends on alignment."""
    aligned = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with torch.no_grad():
        return torch.func.functional_call(model, aligned, kwargs=dict(batch)).logits
