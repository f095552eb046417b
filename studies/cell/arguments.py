"""From a cell to the options of an example's script."""

from pathlib import Path
from typing import Any

from padnet_hf import PADNetError
from studies.cell.settings import OF_BERT, PARTITIONED, Cell
from studies.cell.tasks import KERNEL_REDUCTION, TASKS

_ALWAYS = (
    *("--do_train", "--do_eval", "--logging_strategy", "epoch", "--save_strategy", "no", "--report_to", "none"),
    *("--disable_tqdm", "True"),
)


def arguments(cell: Cell, data_dir: Path, output_dir: Path, *, warm: bool = False) -> list[str]:
    """What the script is called with, `warm` for the dense epochs before.

    Raises PADNetError for a cell that its task cannot have.
    """
    task = TASKS[cell.task]
    is_text = task.script == "run_glue"
    given = {
        "data_dir": data_dir / task.folder,
        "output_dir": output_dir,
        "seed": cell.seed,
        "learning_rate": cell.learning_rate,
        "num_train_epochs": cell.epochs * (cell.warm_share if warm else 1 - cell.warm_share),
        "per_device_train_batch_size": cell.batch_size,
        "per_device_eval_batch_size": 64 if is_text else 256,
        "max_train_samples": cell.train_samples,
        "max_seq_length": cell.max_seq_length,
        "eval_strategy": "epoch" if cell.train_samples is None else "no",  # small cells have no time for it
    }
    words = [*_ALWAYS, *task.options]
    if cell.method != "dense" and not warm:
        given |= _copies(cell) | (_of_text(cell) if is_text else _of_images(cell))
        words += ["--use_pad" if cell.method in PARTITIONED else "--use_moe" if is_text else "--use_dynamic"]
    for name, value in given.items():
        if value is not None:
            values = value if isinstance(value, tuple) else (value,)
            words += [f"--{name}", *map(str, values)]
    return words


def _copies(cell: Cell) -> dict[str, Any]:
    option, copies = TASKS[cell.task].copies
    if cell.method not in PARTITIONED:
        return {option: fewer_copies(copies, cell.ratio) if cell.method == "experts" else copies}
    return {
        option: copies, "dynamic_ratio": cell.ratio, "granularity": cell.granularity, "imp_criterion": cell.criterion,
        "imp_rounds": cell.rounds, "imp_batches": cell.batches, "imp_scope": cell.scope,
        "imp_static_branch": cell.static_branch,
    }  # fmt: skip


def _of_text(cell: Cell) -> dict[str, Any]:
    return {name: getattr(cell, name) for name in OF_BERT}


def _of_images(cell: Cell) -> dict[str, Any]:
    idle = [name for name in (*OF_BERT, "warm_share", "max_seq_length") if name in cell.changed()]
    if idle or cell.method == "experts_used":
        raise PADNetError(f"{[*idle, 'experts_used'][0]} is for texts, but the task is {cell.task}: leave it out")
    return {"reduction": KERNEL_REDUCTION}


def fewer_copies(copies: int, ratio: float) -> int:
    """The number of whole copies nearest to what a partition of `copies` stores, E kappa + 1 - kappa, at least one.

    Half a copy goes to the baseline: 5 for E = 8 and kappa = 0.5, where the partition stores 4.5.
    """
    return max(1, int(copies * ratio + 1 - ratio + 0.5))
