"""The nine GLUE tasks: columns, labels and splits, named as in the Hub data set `nyu-mll/glue`."""

from dataclasses import dataclass

from padnet_hf import PADNetError


@dataclass(frozen=True)
class GlueTask:
    """One task. `label_names` is in the order of the data set's label numbers; empty for regression."""

    name: str
    text_columns: tuple[str, ...]
    label_names: tuple[str, ...]
    eval_splits: tuple[str, ...] = ("validation",)
    test_splits: tuple[str, ...] = ("test",)

    @property
    def is_regression(self) -> bool:
        return not self.label_names


_SENTENCES = ("sentence1", "sentence2")

TASKS: dict[str, GlueTask] = {
    task.name: task
    for task in (
        GlueTask("cola", ("sentence",), ("unacceptable", "acceptable")),
        GlueTask(
            "mnli",
            ("premise", "hypothesis"),
            ("entailment", "neutral", "contradiction"),
            eval_splits=("validation_matched", "validation_mismatched"),
            test_splits=("test_matched", "test_mismatched"),
        ),
        GlueTask("mrpc", _SENTENCES, ("not_equivalent", "equivalent")),
        GlueTask("qnli", ("question", "sentence"), ("entailment", "not_entailment")),
        GlueTask("qqp", ("question1", "question2"), ("not_duplicate", "duplicate")),
        GlueTask("rte", _SENTENCES, ("entailment", "not_entailment")),
        GlueTask("sst2", ("sentence",), ("negative", "positive")),
        GlueTask("stsb", _SENTENCES, ()),
        GlueTask("wnli", _SENTENCES, ("not_entailment", "entailment")),
    )
}


def task_key(name: str) -> str:
    """The table's spelling of a task name: `STS-B` -> `stsb`."""
    return name.lower().replace("-", "").replace("_", "")


def find_task(name: str) -> GlueTask:
    """The task of that name, in any usual spelling (`sst2`, `SST-2`). Raises PADNetError for any other."""
    task = TASKS.get(task_key(name))
    if task is None:
        raise PADNetError(
            f"--task_name {name!r} is not a GLUE task: choose one of {', '.join(TASKS)}, "
            "or give your own data with --train_file and --validation_file"
        )
    return task
