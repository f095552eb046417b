import numpy as np
import pytest
from transformers import EvalPrediction

from glue_data import TextData
from glue_trainer import measure_with

LOGITS = np.array([[0.0, 1.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])


def data(metric: str, names: tuple[str, ...] | None) -> TextData:
    return TextData("x", metric, {}, names)


def test_f1_is_of_the_tasks_second_label_whatever_its_number_in_the_model() -> None:
    outputs = EvalPrediction(predictions=LOGITS, label_ids=np.array([1, 1, 1, 0]))
    names = ("not_equivalent", "equivalent")
    as_task = measure_with(data("mrpc", names), names)(outputs)
    assert as_task == {"accuracy": 0.5, "f1": pytest.approx(2 / 3), "combined_score": pytest.approx(7 / 12)}
    swapped = measure_with(data("mrpc", names), names[::-1])(outputs)
    assert swapped["f1"] == 0.0


def test_a_model_may_know_more_labels_than_the_data() -> None:
    measure = measure_with(data("classification", ("a", "b")), ("c", "b", "a"))
    logits = np.array([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    assert measure(EvalPrediction(predictions=logits, label_ids=np.array([1, 1]))) == {"accuracy": 0.5}


def test_further_outputs_beside_the_logits_are_left_out() -> None:
    outputs = EvalPrediction(predictions=(LOGITS, LOGITS), label_ids=np.array([1, 0, 1, 1]))
    assert measure_with(data("sst2", ("negative", "positive")), ("negative", "positive"))(outputs) == {"accuracy": 1.0}


def test_a_regression_measures_its_one_output() -> None:
    outputs = EvalPrediction(predictions=np.array([[1.0], [2.0], [3.0]]), label_ids=np.array([2.0, 4.0, 6.0]))
    assert measure_with(data("stsb", None), ())(outputs) == pytest.approx(
        {"pearson": 1.0, "spearmanr": 1.0, "combined_score": 1.0}
    )
