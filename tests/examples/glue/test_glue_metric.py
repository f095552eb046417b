from pathlib import Path

import evaluate
import pytest

from glue_metric import MEASURES, GlueMetric


def compute(task: str, predictions: list, references: list) -> dict[str, float]:
    return GlueMetric(config_name=task, keep_in_memory=True).compute(predictions=predictions, references=references)


def test_cola_is_matthews_correlation() -> None:
    # tp 3, tn 2, fp 1, fn 2: (3 * 2 - 1 * 2) / sqrt((3 + 1)(3 + 2)(2 + 1)(2 + 2)) = 4 / sqrt(240)
    got = compute("cola", [1, 1, 1, 0, 0, 1, 0, 0], [1, 1, 1, 1, 1, 0, 0, 0])
    assert got == {"matthews_correlation": pytest.approx(4 / 240**0.5)}


def test_cola_of_constant_predictions_is_zero() -> None:
    assert compute("cola", [1, 1, 1], [1, 0, 1]) == {"matthews_correlation": 0.0}


@pytest.mark.parametrize("task", ["mrpc", "qqp"])
def test_mrpc_and_qqp_are_accuracy_and_f1_of_label_one(task: str) -> None:
    # tp 2, fp 1, fn 1 of 5: precision = recall = 2/3
    got = compute(task, [1, 1, 1, 0, 0], [1, 1, 0, 1, 0])
    assert got == {"accuracy": pytest.approx(3 / 5), "f1": pytest.approx(2 / 3)}


def test_f1_without_label_one_is_zero() -> None:
    assert compute("mrpc", [0, 0], [0, 0]) == {"accuracy": 1.0, "f1": 0.0}


@pytest.mark.parametrize("task", ["mnli", "qnli", "rte", "sst2", "wnli", "classification"])
def test_the_others_are_accuracy(task: str) -> None:
    assert compute(task, [0, 1, 1, 0], [0, 1, 0, 0]) == {"accuracy": 0.75}


@pytest.mark.parametrize("task", ["stsb", "regression"])
def test_stsb_is_pearson_and_spearman(task: str) -> None:
    # x = 1 2 3 4, y = 1 4 9 16: cov = 25/4, var x = 5/4, var y = 129/4; the ranks agree
    got = compute(task, [1.0, 2.0, 3.0, 4.0], [1.0, 4.0, 9.0, 16.0])
    assert got == {"pearson": pytest.approx(25 / (5 * 129) ** 0.5), "spearmanr": pytest.approx(1.0)}


def test_spearman_is_pearson_of_ranks() -> None:
    # ranks 1 3 2 against 1 2 3: 1 - 6 * (0 + 1 + 1) / (3 * 8) = 0.5
    assert compute("stsb", [0.1, 0.9, 0.2], [1.0, 2.0, 3.0])["spearmanr"] == pytest.approx(0.5)


def test_correlation_of_constant_predictions_is_zero() -> None:
    assert compute("stsb", [2.0, 2.0, 2.0], [1.0, 2.0, 3.0]) == {"pearson": 0.0, "spearmanr": 0.0}


def test_evaluate_loads_the_script_without_the_hub(script: Path, tmp_path: Path) -> None:
    metric = evaluate.load(str(script.with_name("glue_metric.py")), "sst2", cache_dir=str(tmp_path))
    assert metric.compute(predictions=[0, 1], references=[0, 0]) == {"accuracy": 0.5}


def test_unknown_configuration_lists_the_known_ones() -> None:
    with pytest.raises(KeyError, match=r"'imdb'.*cola"):
        GlueMetric(config_name="imdb")
    assert len(MEASURES) == 11
