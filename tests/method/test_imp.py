import copy
import itertools
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from padnet_hf.errors import PADNetError
from padnet_hf.method import criteria
from padnet_hf.method.config import PartitionConfig
from padnet_hf.method.imp import partition
from padnet_hf.method.layer import pad_weights
from padnet_hf.method.report import PartitionReport
from tests.method.reference_imp import reference_masks, reference_static_values
from tests.method.toy import ToyModel, toy_batches

NUM_ELEMENTS = sum(2 * 4 * inner + inner + 4 for inner in (24, 40))


def _partition(model: ToyModel, batches: Iterable[dict[str, Tensor]] | None = None, **fields: Any) -> PartitionReport:
    return partition(model, batches, PartitionConfig(**fields), progress=False)


def _state(model: torch.nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def _same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


# What is chosen


@pytest.mark.parametrize("granularity", ["element", "unit"])
@pytest.mark.parametrize("scope", ["global", "layer"])
@pytest.mark.parametrize("schedule", ["exponential", "linear"])
@pytest.mark.parametrize("static_branch", ["drop", "keep"])
@pytest.mark.parametrize("num_rounds", [1, 3])
@pytest.mark.parametrize(("criterion", "static_values"), [("snip", "mean"), (None, None), ("snip", "fisher")])
def test_the_partition_is_the_one_of_a_slow_dense_reference(
    granularity: str,
    scope: str,
    schedule: str,
    static_branch: str,
    num_rounds: int,
    criterion: str | None,
    static_values: str | None,
) -> None:
    config = PartitionConfig(
        criterion=criterion,
        static_values=static_values,
        dynamic_ratio=0.4,
        granularity=granularity,
        scope=scope,
        schedule=schedule,
        static_branch=static_branch,
        num_rounds=num_rounds,
    )
    model, batches = ToyModel(), toy_batches(3)
    theta = {name: weight.dynamic.detach().clone() for name, weight in pad_weights(model).items()}
    static = {name: values.mean(dim=0) for name, values in theta.items()}
    if static_values != "mean":
        static = reference_static_values(model, batches)
    masks = reference_masks(model, batches, config.resolved(copies_differ=True), static)
    partition(model, batches, config, progress=False)
    for name, weight in pad_weights(model).items():
        mask = masks[name]
        if weight.is_fully_dynamic:
            assert mask.all()
            continue
        assert int(mask.sum()) == weight.num_dynamic_elements < mask.numel()
        if not weight.is_static:
            assert torch.equal(weight.dynamic.flatten(1), theta[name][:, mask])
        torch.testing.assert_close(weight.static.flatten(), static[name][~mask], rtol=1e-5, atol=1e-6)


def test_rounds_schedules_and_static_branches_choose_differently() -> None:
    config = {"dynamic_ratio": 0.4, "num_rounds": 3}
    variants = [{}, {"num_rounds": 1}, {"schedule": "linear"}, {"static_branch": "keep"}, {"scope": "layer"}]
    hashes = [_partition(ToyModel(), toy_batches(3), **config | variant).record["mask_hash"] for variant in variants]
    assert len(set(hashes)) == len(variants)


@pytest.mark.parametrize("kappa", [0.0, 0.001, 0.1, 0.3, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("criterion", ["snip", "magnitude", "random"])
def test_element_counts_are_exact(kappa: float, criterion: str) -> None:
    model = ToyModel()
    report = _partition(model, toy_batches(2), dynamic_ratio=kappa, criterion=criterion)
    count = sum(weight.num_dynamic for weight in pad_weights(model).values())
    assert count == round(kappa * NUM_ELEMENTS)
    assert report.dynamic_ratio == count / NUM_ELEMENTS


def test_element_counts_are_exact_where_nearly_all_scores_are_zero() -> None:
    model = ToyModel()
    with torch.no_grad():
        for weight in pad_weights(model).values():
            weight.dynamic.mul_(torch.rand(weight.shape, generator=torch.Generator().manual_seed(0)) < 0.1)
    _partition(model, toy_batches(2), dynamic_ratio=0.5)
    assert sum(weight.num_dynamic for weight in pad_weights(model).values()) == round(0.5 * NUM_ELEMENTS)


@pytest.mark.parametrize(("kappa", "blocks"), [(0.0, 0), (0.01, 2), (0.25, 2), (0.4, 3), (0.5, 4), (0.8, 6), (1.0, 8)])
@pytest.mark.parametrize("criterion", ["snip", "magnitude", "random"])
def test_unit_counts_are_the_nearest_number_of_blocks_and_no_layer_is_empty(
    kappa: float, blocks: int, criterion: str
) -> None:
    model = ToyModel()
    _partition(model, toy_batches(2), dynamic_ratio=kappa, granularity="unit", criterion=criterion)
    counts = [layer.experts.up_proj.num_dynamic for layer in model.layers]
    assert all(count % 8 == 0 for count in counts)
    assert sum(counts) == 8 * blocks
    assert all(count > 0 for count in counts) == (kappa > 0)


@pytest.mark.parametrize("granularity", ["element", "unit"])
@pytest.mark.parametrize("criterion", ["snip", "magnitude", "random"])
@pytest.mark.parametrize("kappa", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_partition_of_equal_copies_changes_no_output(
    granularity: str, criterion: str, kappa: float, dtype: torch.dtype
) -> None:
    model = ToyModel(equal_copies=True, dtype=dtype).eval()
    batches = toy_batches(2, dtype)
    before = model(**batches[0])["logits"]
    _partition(model, batches, granularity=granularity, criterion=criterion, dynamic_ratio=kappa)
    after = model(**batches[0])["logits"]
    tolerance = 1e-6 if dtype == torch.float64 else 1e-5  # gates are float32, and sum to one as float32 can
    torch.testing.assert_close(after, before, rtol=tolerance, atol=tolerance)


def test_extreme_ratios_and_criteria_without_gradients_need_no_batches() -> None:
    for fields in ({"dynamic_ratio": 0}, {"dynamic_ratio": 1}, {"criterion": "magnitude"}, {"criterion": "random"}):
        model = ToyModel()
        assert _partition(model, None, **fields).record["num_samples"] == 0
        assert model.seen.training == []
        weights = pad_weights(model).values()
        assert all(weight.is_static for weight in weights) == (fields.get("dynamic_ratio") == 0)
        assert all(weight.is_fully_dynamic for weight in weights) == (fields.get("dynamic_ratio") == 1)


@pytest.mark.parametrize("criterion", ["snip", "magnitude", "random"])
def test_same_seed_and_batches_give_the_same_mask_whatever_the_global_state(criterion: str) -> None:
    states = []
    for global_seed in (1, 2):
        torch.manual_seed(global_seed)
        model = ToyModel().train(mode=global_seed == 1)
        _partition(model, toy_batches(2), criterion=criterion, seed=3)
        states.append(_state(model))
    assert _same(*states)


def test_the_criterion_random_follows_the_seed() -> None:
    hashes = {_partition(ToyModel(), criterion="random", seed=seed).record["mask_hash"] for seed in (0, 1)}
    assert len(hashes) == 2


def test_frozen_weights_are_scored_like_trainable_ones_and_stay_frozen() -> None:
    frozen, free = ToyModel().requires_grad_(False), ToyModel()
    with torch.no_grad():
        _partition(frozen, toy_batches(2))
    _partition(free, toy_batches(2))
    assert _same(_state(frozen), _state(free))
    assert not any(parameter.requires_grad for parameter in frozen.parameters())
    assert all(parameter.requires_grad for parameter in free.parameters())


def test_the_record_says_how_the_mask_came_about() -> None:
    config = PartitionConfig(num_batches=2, dynamic_ratio=0.3, seed=5)
    record = partition(ToyModel(), toy_batches(3), config, progress=False).record
    assert json.loads(json.dumps(record)) == record
    assert record == config.resolved(copies_differ=True).to_dict() | {
        "num_samples": 2 + 3,
        "mask_hash": record["mask_hash"],
    }
    assert len(bytes.fromhex(record["mask_hash"])) == 32


def test_a_model_that_keeps_records_is_given_one() -> None:
    model, records = ToyModel(), []
    model.record_partition = records.append
    report = _partition(model, toy_batches(2))
    assert records == [report.record]


# Where batches come from


def test_only_the_first_batches_are_drawn_and_every_round_uses_the_same() -> None:
    model, drawn = ToyModel(), []

    def endless() -> Iterator[dict[str, Tensor]]:
        for batch in itertools.cycle(toy_batches(3)):
            drawn.append(len(batch["labels"]))
            yield batch

    _partition(model, endless(), num_batches=2, num_rounds=3, static_values="mean")
    assert drawn == [2, 3]
    assert len(model.seen.training) == 3 * 2


class _Stream(IterableDataset):
    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        batch = toy_batches(3)[2]
        yield from ({name: tensor[index] for name, tensor in batch.items()} for index in range(4))


def test_a_loader_over_a_stream_without_length_is_a_source_of_batches() -> None:
    model = ToyModel()
    assert _partition(model, DataLoader(_Stream(), batch_size=2)).record["num_samples"] == 4


def test_a_shuffling_loader_leaves_the_global_generator_alone() -> None:
    batch = toy_batches(3)[2]
    items = [{name: tensor[index] for name, tensor in batch.items()} for index in range(4)]
    model, before = ToyModel(), torch.get_rng_state()
    _partition(model, DataLoader(items, batch_size=2, shuffle=True))
    assert torch.equal(torch.get_rng_state(), before)


# Bad input


@pytest.mark.parametrize("index", [0, 2])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_is_refused_naming_the_batch(index: int, value: float) -> None:
    batches = toy_batches(3)
    batches[index]["hidden"][0] = value
    with pytest.raises(PADNetError, match=rf"loss of calibration batch {index} is nan, but must be finite"):
        _partition(ToyModel(), batches)


def test_an_infinite_loss_is_refused_naming_the_batch() -> None:
    model = ToyModel()
    with torch.no_grad():
        model.head.weight.zero_()
        model.head.bias.copy_(torch.tensor([1e308, -1e308, 0], dtype=torch.float64))
    batches = toy_batches(1)
    batches[0]["labels"].fill_(1)
    with pytest.raises(PADNetError, match="loss of calibration batch 0 is inf"):
        _partition(model, batches)


def test_a_batch_without_a_loss_is_refused_naming_the_batch_and_its_keys() -> None:
    batches = toy_batches(2)
    del batches[1]["labels"]
    with pytest.raises(PADNetError, match=r"calibration batch 1 gives no loss.*\['hidden'\].*labels"):
        _partition(ToyModel(), batches)


@pytest.mark.parametrize("batches", [None, [], iter(())], ids=["none", "empty list", "exhausted"])
def test_no_batches_are_refused(batches: Iterable[dict[str, Tensor]] | None) -> None:
    with pytest.raises(PADNetError, match=r"no calibration batches.*at least 1"):
        _partition(ToyModel(), batches)


def test_partitioning_twice_is_refused() -> None:
    for fields in ({"criterion": "random"}, {"dynamic_ratio": 0}):
        model = ToyModel()
        _partition(model, **fields)
        before = _state(model)
        with pytest.raises(PADNetError, match="ToyModel is partitioned already"):
            _partition(model, **fields)
        assert _same(_state(model), before)


def test_a_model_that_says_it_is_partitioned_is_refused_though_all_is_dynamic() -> None:
    model = ToyModel()
    _partition(model, dynamic_ratio=1)
    model.is_partitioned = True
    with pytest.raises(PADNetError, match="partitioned already"):
        _partition(model, dynamic_ratio=1)


def test_a_model_without_dynamic_layers_is_refused() -> None:
    with pytest.raises(PADNetError, match="Linear has no dynamic layers"):
        partition(torch.nn.Linear(2, 2), [])


# Criteria of one's own


def test_a_registered_criterion_chooses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(criteria, "_CRITERIA", dict(criteria._CRITERIA))

    @criteria.register_criterion("gradient size")
    def gradient_size(weight: criteria.Scored) -> Tensor:
        assert weight.copies.shape == weight.gradients.shape
        return weight.gradients.float().abs().sum(dim=0)

    model, batches = ToyModel(), toy_batches(1)
    reference = copy.deepcopy(model).eval()
    reference(**batches[0])["loss"].backward()
    sizes = [weight.dynamic.grad.float().abs().sum(dim=0).flatten() for weight in pad_weights(reference).values()]
    threshold = torch.cat(sizes).sort(descending=True).values[round(0.5 * NUM_ELEMENTS) - 1]
    _partition(model, batches, criterion="gradient size", num_rounds=1)
    for size, weight in zip(sizes, pad_weights(model).values(), strict=True):
        assert torch.equal(weight.mask(), size >= threshold)


# Several processes


_KINDS: dict[str, dict[str, Any]] = {
    "element": {"static_values": "mean"},
    "unit": {"granularity": "unit", "static_values": "mean"},
    "masks of each copy": {"masks": "per_copy", "static_values": "mean"},
    "units left out": {"masks": "per_copy", "granularity": "unit", "static_values": "none"},
}


def _partition_on_rank(rank: int, folder: str) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    try:
        results = {}
        for name, fields in _KINDS.items():
            model = ToyModel()
            record = _partition(model, toy_batches(4)[rank::2], **fields).record
            results[name] = (model.state_dict(), record)
        torch.save(results, Path(folder) / f"rank{rank}.pt")
    finally:
        torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_two_processes_choose_what_one_does(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(_partition_on_rank, (str(tmp_path),), nprocs=2)
    ranks = [torch.load(tmp_path / f"rank{rank}.pt") for rank in range(2)]
    for name, fields in _KINDS.items():
        model, half = ToyModel(), ToyModel()
        record = _partition(model, toy_batches(4), **fields).record
        for results in ranks:
            state, its_record = results[name]
            assert _same(state, _state(model))
            assert its_record == record
        halved = _partition(half, toy_batches(4)[::2], **fields).record
        assert halved["mask_hash"] != record["mask_hash"]  # one rank by itself would have chosen differently
