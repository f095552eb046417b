from pathlib import Path

import pytest

from padnet_hf import PADNetError
from studies.cell.arguments import arguments
from studies.cell.settings import Cell
from studies.grids import GRIDS, IMAGES, TEXTS, expand
from studies.grounds import GROUNDS, SEARCH_SEED

TASKS = (*TEXTS, *IMAGES)


def searched(ground: str) -> dict[Cell, float]:
    """As if one learning rate were the best."""
    cells = [cell for task in TASKS for cell in GROUNDS[ground].search(task)]
    return {cell: float(cell.learning_rate in (2e-4, 3e-3)) for cell in cells}


@pytest.mark.parametrize("ground", GROUNDS)
@pytest.mark.parametrize("grid", GRIDS)
def test_every_cell_of_a_grid_is_there_once_and_can_be_run(grid: str, ground: str) -> None:
    cells = expand(grid, GROUNDS[ground], TASKS, None, searched(ground))
    assert len(set(cells)) == len(cells) > 0
    assert SEARCH_SEED not in {cell.seed for cell in cells}
    for cell in cells:
        words = arguments(cell, Path("data"), Path("out"))
        chosen = words[words.index("--learning_rate") + 1] == ("0.0002" if cell.task in TEXTS else "0.003")
        assert chosen == (grid != "rates")
        assert ("--use_pad" in words) == (cell.method in ("pad", "prune"))


def test_the_headline_has_three_seeds_of_every_method_one_whole_seed_after_the_other() -> None:
    cells = expand("headline", GROUNDS["short"], TEXTS, None, searched("short"))
    assert [cell.seed for cell in cells] == sorted(cell.seed for cell in cells)
    methods = {(cell.method, cell.ratio, cell.granularity) for cell in cells}
    assert {("dense", None, "element"), ("dynamic", None, "element")} < methods
    assert {("pad", 0.5, "unit"), ("pad", 0.5, "element"), ("prune", 0.5, "element")} < methods
    assert len(cells) == 3 * len(TEXTS) * 5
    assert {cell.ratio for cell in expand("headline", GROUNDS["short"], IMAGES, [7], searched("short"))} == {None, 0.3}


def test_the_search_is_fully_dynamic_and_all_methods_take_what_it_chose() -> None:
    ground = GROUNDS["full"]
    search = expand("search", ground, ["cola"], None, {})
    assert {cell.method for cell in search} == {"dynamic"}
    for best in search:
        values = dict.fromkeys(search, 0.2) | {best: 0.3}
        for cell in expand("headline", ground, ["cola"], [1], values):
            assert (cell.learning_rate, cell.epochs) == (best.learning_rate, best.epochs)


def test_without_the_whole_search_there_is_no_choice() -> None:
    values = searched("short")
    del values[next(cell for cell in values if cell.task == "sst2")]
    with pytest.raises(PADNetError, match="the learning rate for sst2 is not chosen yet, 1 of 3 cells"):
        expand("headline", GROUNDS["short"], TEXTS, None, values)


def test_the_seed_of_the_search_is_not_reported() -> None:
    with pytest.raises(PADNetError, match="the seed 0 is the search's"):
        expand("headline", GROUNDS["short"], ["mrpc"], [0, 1], searched("short"))
