"""Losses that are sums over what counts, divided by how many count in all accumulated batches together."""

import inspect
from collections.abc import Mapping
from typing import Any

from torch import Tensor
from transformers import PreTrainedModel
from transformers.loss.loss_utils import ForCausalLMLoss

NUMBER = "num_items_in_batch"
"""The keyword by which the Trainer tells a model how many count."""


def divides_by_items(model: PreTrainedModel) -> bool:
    """Whether a model's loss is a sum divided by `num_items_in_batch`, if that is given."""
    forward = inspect.unwrap(type(model).forward)
    if "loss_function" not in forward.__code__.co_names:
        return False
    return NUMBER in inspect.signature(model.loss_function).parameters


def share_of_items(model: PreTrainedModel, inputs: Mapping[str, Any], num_items: Tensor | int) -> Tensor | float:
    """Which share of `num_items` the labels of this batch are, counted as the Trainer counts them; 1 without labels."""
    labels = inputs.get("shift_labels")
    if labels is None and inputs.get("labels") is not None:
        labels = inputs["labels"]
        labels = labels[..., 1:] if model.loss_function is ForCausalLMLoss else labels  # each predicts the next
    return 1.0 if labels is None else (labels != -100).sum() / num_items
