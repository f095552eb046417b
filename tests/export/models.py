"""Models as small as can be, since tracing takes seconds: of each family and form, copies and scales apart."""

import torch
from transformers import PreTrainedModel, set_seed

from padnet_hf import (
    PADBertConfig,
    PADBertForSequenceClassification,
    PADResNetConfig,
    PADResNetForImageClassification,
    PartitionConfig,
    partition,
)
from tests.hub.cases import moved

FORMS = {
    "full": None,
    "element": PartitionConfig(dynamic_ratio=0.3, criterion="random"),
    "unit": PartitionConfig(dynamic_ratio=0.3, criterion="random", granularity="unit"),
}
CASES = [f"{family}-{form}" for family in ("bert", "resnet") for form in FORMS]
FORMS |= {
    "own": PartitionConfig(dynamic_ratio=0.3, criterion="random", masks="per_copy"),
    "smaller": PartitionConfig(criterion="random", granularity="unit", masks="per_copy", static_values="none"),
}
OWN = ["bert-own", "bert-smaller", "resnet-own"]
"""Masks of each copy, by element, and by unit with the others left out."""

BERT = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 90}
RESNET = {"embedding_size": 16, "hidden_sizes": [32], "depths": [1], "layer_type": "basic", "image_size": 40}


def small(case: str, **fields: object) -> PreTrainedModel:
    """The model of a case, in evaluation mode; `fields` are of its configuration."""
    family, form = case.split("-")
    set_seed(0)
    if family == "bert":
        config = PADBertConfig(**BERT | {"num_experts": 3, "router_init_std": 0.5, "num_labels": 3} | fields)
        model = PADBertForSequenceClassification(config)
    else:
        config = PADResNetConfig(**RESNET | {"num_kernels": 3, "num_labels": 3} | fields)
        model = PADResNetForImageClassification(config)
    if FORMS[form] is not None:
        partition(model, config=FORMS[form], progress=False)
    model = moved(model)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "classifier" in name:  # logits of order one
                parameter += torch.randn(parameter.shape, generator=generator)
    return model
