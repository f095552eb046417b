import numpy as np

from image_metric import ImageMetric, count_confusions, per_class_accuracy


def test_accuracy_is_the_share_of_equal_labels() -> None:
    metric = ImageMetric(keep_in_memory=True)
    assert metric.compute(predictions=[0, 1, 2, 0], references=[0, 1, 1, 0]) == {"accuracy": 0.75}


def test_confusions_count_true_classes_by_row() -> None:
    confusions = count_confusions(np.array([0, 1, 1]), np.array([0, 0, 1]), 3)
    assert confusions.tolist() == [[1, 1, 0], [0, 1, 0], [0, 0, 0]]
    assert per_class_accuracy(confusions, ["a", "b", "c"]) == {
        "a": {"accuracy": 0.5, "images": 2},
        "b": {"accuracy": 1.0, "images": 1},
        "c": {"accuracy": None, "images": 0},
    }
