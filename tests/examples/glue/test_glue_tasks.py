import pytest

from glue_metric import MEASURES
from glue_tasks import TASKS, find_task
from padnet_hf import PADNetError


def test_the_nine_tasks_are_there_each_with_measures() -> None:
    assert sorted(TASKS) == ["cola", "mnli", "mrpc", "qnli", "qqp", "rte", "sst2", "stsb", "wnli"]
    assert set(TASKS) <= set(MEASURES)


@pytest.mark.parametrize("name", ["stsb", "STS-B", "sts-b", "STSB"])
def test_usual_spellings_find_the_task(name: str) -> None:
    assert find_task(name) is TASKS["stsb"]


def test_only_stsb_is_a_regression() -> None:
    assert [task.name for task in TASKS.values() if task.is_regression] == ["stsb"]


def test_unknown_task_lists_the_nine() -> None:
    with pytest.raises(PADNetError, match=r"'imdb'.*cola, mnli, mrpc, qnli, qqp, rte, sst2, stsb, wnli.*--train_file"):
        find_task("imdb")
