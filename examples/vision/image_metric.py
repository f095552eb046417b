"""Accuracy as an `evaluate.Metric` that needs no download, and for every class by itself."""

from collections.abc import Sequence

import datasets
import evaluate
import numpy as np
from sklearn.metrics import accuracy_score, confusion_matrix


class ImageMetric(evaluate.Metric):
    """`compute` gives {"accuracy": share of equal labels}."""

    def _info(self) -> evaluate.MetricInfo:
        value = datasets.Value("int64")
        return evaluate.MetricInfo(
            description="Share of images whose label is right.",
            citation="",
            inputs_description="predictions and references: label numbers",
            features=datasets.Features({"predictions": value, "references": value}),
        )

    def _compute(self, predictions: Sequence[int], references: Sequence[int]) -> dict[str, float]:
        return {"accuracy": float(accuracy_score(references, predictions))}


def count_confusions(predictions: np.ndarray, references: np.ndarray, num_labels: int) -> np.ndarray:
    """(num_labels, num_labels): how many images of class row were taken for class column."""
    return confusion_matrix(references, predictions, labels=range(num_labels))


def per_class_accuracy(confusions: np.ndarray, names: Sequence[str]) -> dict[str, dict[str, float | int | None]]:
    """For every class its accuracy, None without any image, and its number of images."""
    counts = confusions.sum(1)
    return {
        name: {"accuracy": float(confusions[number, number] / count) if count else None, "images": int(count)}
        for number, (name, count) in enumerate(zip(names, counts, strict=True))
    }
