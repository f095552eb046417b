from studies.board import title
from studies.cell.settings import Cell
from studies.grids import GRIDS, TEXTS, cell_of, variants
from studies.grounds import GROUNDS


def test_titles_tell_all_methods_of_a_task_apart() -> None:
    for task in (*TEXTS, "cifar10"):
        values = dict.fromkeys(GROUNDS["short"].search(task), 1.0)
        chosen = GROUNDS["short"].chosen(task, values)
        cells: dict[str, Cell] = {}
        for grid in GRIDS:
            for variant in variants(grid, chosen):
                cell = cell_of(chosen, variant, 1)
                assert cells.setdefault(title(variant, task), cell) == cell
