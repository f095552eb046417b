import itertools
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from datasets import IterableDataset as DatasetStream
from torch import Tensor, nn
from torch.utils.data import IterableDataset

from padnet_hf.errors import PADNetError
from padnet_hf.training.calibration import CalibrationBatches


def _collate(items: list[int]) -> dict[str, Tensor]:
    return {"items": torch.tensor(items)}


def _items(batches: CalibrationBatches) -> list[list[int]]:
    return [batch["items"].tolist() for batch in batches]


def _batches(size: int = 100, **options: Any) -> CalibrationBatches:
    return CalibrationBatches(range(1000, 1000 + size), _collate, **options)


def test_every_iteration_gives_the_same_batches() -> None:
    batches = _batches(batch_size=4, num_batches=3)
    first = _items(batches)
    torch.rand(7)
    assert _items(batches) == first
    assert _items(_batches(batch_size=4, num_batches=3)) == first


def test_batches_are_disjoint_and_from_the_data_set() -> None:
    drawn = [item for batch in _items(_batches(batch_size=8, num_batches=5)) for item in batch]
    assert len(drawn) == len(set(drawn)) == 40
    assert set(drawn) <= set(range(1000, 1100))
    assert drawn != sorted(drawn)


def test_the_seed_decides() -> None:
    one, other = _items(_batches(seed=1)), _items(_batches(seed=2))
    assert one != other
    assert one == _items(_batches(seed=1))


def test_global_random_state_is_neither_used_nor_changed() -> None:
    results = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        results.append(_items(_batches()))
        assert torch.equal(torch.get_rng_state(), before)
    assert results[0] == results[1]


@pytest.mark.parametrize(
    ("size", "batch_size", "num_batches", "expected"),
    [(100, 8, 3, [8, 8, 8]), (10, 4, 8, [4, 4, 2]), (3, 8, 2, [3]), (4, 1, 2, [1, 1])],
)
def test_sizes_and_length(size: int, batch_size: int, num_batches: int, expected: list[int]) -> None:
    batches = _batches(size, batch_size=batch_size, num_batches=num_batches)
    assert [len(batch) for batch in _items(batches)] == expected
    assert len(batches) == len(expected)


@pytest.mark.parametrize("world_size", [2, 3])
def test_processes_share_out_the_batches_of_a_single_one(world_size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    single = _items(_batches(batch_size=4, num_batches=7))
    batches = _batches(batch_size=4, num_batches=7)
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: world_size)
    together = []
    for rank in range(world_size):
        monkeypatch.setattr(torch.distributed, "get_rank", lambda rank=rank: rank)
        own = _items(batches)
        assert len(batches) == len(own)
        together += own
    assert sorted(together) == sorted(single)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("batch_size", {"batch_size": 0}),
        ("num_batches", {"num_batches": 0}),
        ("num_batches", {"num_batches": -2}),
        ("data set size", {"size": 0}),
    ],
)
def test_a_number_below_one_is_refused_with_its_value(name: str, options: dict[str, int]) -> None:
    value = next(iter(options.values()))
    with pytest.raises(PADNetError, match=f"calibration {name} is {value}, but must be at least 1"):
        _batches(**options)


class Stream(IterableDataset):
    """Numbers one after the other, from the start on each iteration."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __iter__(self) -> Iterator[int]:
        return iter(range(1000, 1000 + self.count))


@pytest.mark.parametrize("stream", [Stream(100), DatasetStream.from_generator(lambda: ({"n": n} for n in range(100)))])
def test_of_a_stream_the_first_items_are_taken(stream: Any) -> None:
    batches = CalibrationBatches(stream, list, batch_size=4, num_batches=3)
    items = [item for batch in batches for item in batch]
    assert items == list(itertools.islice(stream, 12))
    assert (len(batches), [len(batch) for batch in batches]) == (3, [4, 4, 4])


def test_a_stream_without_items_is_refused() -> None:
    with pytest.raises(PADNetError, match="calibration data set size is 0, but must be at least 1"):
        CalibrationBatches(Stream(0), _collate)


def test_columns_that_the_model_does_not_take_are_dropped() -> None:
    class Model(nn.Module):
        def forward(self, items: Tensor, labels: Tensor) -> Tensor:
            return items

    rows = [{"items": 1, "labels": 2, "label": 3, "text": "fine"}]
    batches = CalibrationBatches(rows, lambda items: dict(items[0]))
    assert list(batches.for_model(Model())) == [{"items": 1, "labels": 2, "label": 3}]
    assert list(batches.for_model(Model(), ["text"])) == [rows[0]]
    assert list(batches) == [rows[0]]
