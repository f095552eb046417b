"""What is trained on how much: the budget of every task, the same for all methods.

"short" is for a CPU: a fully dynamic cell took seven to ten minutes of one core on MRPC, CoLA and STS-B, two to five on
SST-2. "full" is for a GPU: with 17 cells at a time on an H200, each took half a minute (dense) to four.
"""

from dataclasses import dataclass
from typing import Any

from padnet_hf import PADNetError
from studies.cell.settings import Cell
from studies.cell.tasks import TASKS

SEARCH_SEED = 0
"""Of the search alone, so that no seed that is reported has chosen its own learning rate."""

LEARNING_RATES = {"run_glue": (5e-5, 1e-4, 2e-4), "run_image_classification": (1e-3, 3e-3, 1e-2)}
"""What the search chooses from, by script."""


@dataclass(frozen=True)
class Ground:
    """Budgets: fields of Cell for each task."""

    budgets: dict[str, dict[str, Any]]

    def search(self, task: str) -> list[Cell]:
        """Fully dynamic, with every learning rate that may be chosen."""
        rates = LEARNING_RATES[TASKS[task].script]
        return [Cell(task, "dynamic", SEARCH_SEED, rate, **self.budgets[task]) for rate in rates]

    def chosen(self, task: str, values: dict[Cell, float]) -> Cell:
        """The cell of the search with the best metric. Raises PADNetError while one of them is missing."""
        cells = self.search(task)
        missing = [cell for cell in cells if cell not in values]
        if missing:
            raise PADNetError(
                f"the learning rate for {task} is not chosen yet, {len(missing)} of {len(cells)} cells of the search "
                "are missing: run the grid `search` first"
            )
        return max(cells, key=values.__getitem__)


def _text(samples: int | None, length: int, epochs: int, batch_size: int) -> dict[str, Any]:
    return {"train_samples": samples, "max_seq_length": length, "epochs": epochs, "batch_size": batch_size}


def _images(samples: int | None, epochs: int) -> dict[str, Any]:
    return {"train_samples": samples, "epochs": epochs, "batch_size": 128}


GROUNDS = {
    "short": Ground(
        {
            "mrpc": _text(2400, 64, 2, 16),
            "cola": _text(None, 64, 2, 32),
            "stsb": _text(4000, 64, 2, 16),
            "sst2": _text(2500, 64, 2, 16),
            "cifar10": _images(10_000, 6),
            "fashion_mnist": _images(10_000, 6),
        }
    ),
    "full": Ground(
        {
            "mrpc": _text(None, 128, 5, 32),
            "cola": _text(None, 128, 5, 32),
            "stsb": _text(None, 128, 5, 32),
            "sst2": _text(None, 128, 1, 64),
            "cifar10": _images(None, 15),
            "fashion_mnist": _images(None, 15),
        }
    ),
}
