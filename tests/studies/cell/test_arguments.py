from pathlib import Path

import pytest

from padnet_hf import PADNetError
from studies.cell.arguments import arguments, fewer_copies
from studies.cell.settings import Cell


@pytest.mark.parametrize(
    ("copies", "ratio", "kept"), [(8, 0.3, 3), (8, 0.5, 5), (8, 0.7, 6), (4, 0.3, 2), (4, 0.5, 3), (8, 0, 1), (8, 1, 8)]
)
def test_whole_copies_come_nearest_to_what_a_partition_stores(copies: int, ratio: float, kept: int) -> None:
    assert fewer_copies(copies, ratio) == kept
    assert abs(kept - (copies * ratio + 1 - ratio)) <= 0.5 + 1e-9


def test_what_only_texts_have_is_refused_for_images() -> None:
    cell = Cell("cifar10", "dynamic", 1, 1e-3, 2, router_noise=False)
    with pytest.raises(PADNetError, match="router_noise is for texts, but the task is cifar10"):
        arguments(cell, Path("data"), Path("out"))
