import torch

from benchmarks.imp import Size, batch, build, partition_and_undo, passes
from padnet_hf import PartitionConfig, partition
from padnet_hf.method.layer import pad_weights

SIZE = Size(2, 32, 64, 1)
CONFIG = PartitionConfig(num_batches=2)


def test_the_passes_are_as_many_as_those_of_partition() -> None:
    model, inputs, calls = build(SIZE), batch(), []
    model.register_forward_hook(lambda *_: calls.append(torch.is_grad_enabled()))
    passes(model, inputs, CONFIG)
    alone = list(calls)
    partition(model, [inputs] * 2, CONFIG, progress=False)
    assert calls == alone * 2
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())


def test_a_model_that_was_partitioned_for_timing_is_what_it_was() -> None:
    model, inputs = build(SIZE), batch()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    partition_and_undo(model, inputs, CONFIG)
    assert not model.is_partitioned
    assert all(weight.is_fully_dynamic for weight in pad_weights(model).values())
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(tensor, before[name], rtol=0, atol=0)


def test_copies_are_equal_as_after_upcycling() -> None:
    assert all(bool((w.dynamic == w.dynamic[:1]).all()) for w in pad_weights(build(SIZE)).values())
