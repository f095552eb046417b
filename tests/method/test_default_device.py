"""Whoever has set torch's default device to another one than the model's gets the same: nothing is made there."""

import copy

import pytest
import torch

from padnet_hf.method.config import PartitionConfig
from padnet_hf.method.imp import partition
from padnet_hf.method.layer import pad_layers
from tests.method.toy import ToyModel, toy_batches


@pytest.mark.parametrize("implementation", ["eager", "grouped_mm"])
@pytest.mark.parametrize("scope", ["global", "layer"])
@pytest.mark.parametrize("granularity", ["element", "unit"])
@pytest.mark.parametrize("criterion", ["snip", "magnitude", "random"])
def test_partition_and_training_are_those_of_the_models_device(
    criterion: str, granularity: str, scope: str, implementation: str
) -> None:
    config = PartitionConfig(granularity=granularity, criterion=criterion, scope=scope, num_batches=1)
    model, (batch,) = ToyModel(dtype=torch.float32).eval(), toy_batches(1, torch.float32)
    for layer in pad_layers(model).values():
        layer.experts.implementation = implementation
    other = copy.deepcopy(model)
    expected = partition(model, [batch], config, progress=False)
    model(**batch)["loss"].backward()
    with torch.device("meta"):
        assert partition(other, [batch], config, progress=False) == expected
        other(**batch)["loss"].backward()
    for (name, one), found in zip(model.named_parameters(), other.parameters(), strict=True):
        assert torch.equal(found, one), name
        assert (found.grad is None and one.grad is None) or torch.equal(found.grad, one.grad), name
