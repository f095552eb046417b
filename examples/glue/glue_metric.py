"""The metrics of GLUE as an `evaluate.Metric` that needs no download: scikit-learn and scipy do the counting.

`evaluate.load("examples/glue/glue_metric.py", "mrpc")` or `GlueMetric(config_name="mrpc")`. This file imports nothing
of its neighbours, because `evaluate.load` copies it elsewhere before running it.
"""

import math
from collections.abc import Callable, Sequence

import datasets
import evaluate
from scipy.stats import pearsonr, spearmanr
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

_CITATION = """@inproceedings{wang2019glue,
  title={{GLUE}: A Multi-Task Benchmark and Analysis Platform for Natural Language Understanding},
  author={Wang, Alex and Singh, Amanpreet and Michael, Julian and Hill, Felix and Levy, Omer and Bowman, Samuel R.},
  booktitle={ICLR}, year={2019}
}"""


def accuracy(predictions: Sequence[int], references: Sequence[int]) -> float:
    """Share of equal labels."""
    return float(accuracy_score(references, predictions))


def f1(predictions: Sequence[int], references: Sequence[int]) -> float:
    """F1 of label 1; 0 where label 1 is neither predicted nor present."""
    return float(f1_score(references, predictions, pos_label=1, zero_division=0))


def matthews_correlation(predictions: Sequence[int], references: Sequence[int]) -> float:
    """Matthews correlation, -1 to 1; 0 where all predictions are the same."""
    return float(matthews_corrcoef(references, predictions))


def pearson(predictions: Sequence[float], references: Sequence[float]) -> float:
    """Pearson correlation; 0 where it is undefined, for constant values or fewer than two of them."""
    return _correlation(pearsonr, predictions, references)


def spearmanr_(predictions: Sequence[float], references: Sequence[float]) -> float:
    """Spearman rank correlation; 0 where it is undefined, for constant values or fewer than two of them."""
    return _correlation(spearmanr, predictions, references)


def _correlation(function: Callable, predictions: Sequence[float], references: Sequence[float]) -> float:
    if min(len(set(predictions)), len(set(references))) < 2:
        return 0.0
    value = float(function(predictions, references)[0])
    return 0.0 if math.isnan(value) else value


_ACCURACY = {"accuracy": accuracy}
_ACCURACY_F1 = {"accuracy": accuracy, "f1": f1}
_CORRELATIONS = {"pearson": pearson, "spearmanr": spearmanr_}

MEASURES: dict[str, dict[str, Callable[..., float]]] = {
    "cola": {"matthews_correlation": matthews_correlation},
    "mnli": _ACCURACY,
    "mrpc": _ACCURACY_F1,
    "qnli": _ACCURACY,
    "qqp": _ACCURACY_F1,
    "rte": _ACCURACY,
    "sst2": _ACCURACY,
    "stsb": _CORRELATIONS,
    "wnli": _ACCURACY,
    "classification": _ACCURACY,
    "regression": _CORRELATIONS,
}
"""Which measures belong to which task; the last two are for data that is not GLUE's."""

REGRESSIONS = frozenset(name for name, measures in MEASURES.items() if measures is _CORRELATIONS)


class GlueMetric(evaluate.Metric):
    """The measures of one task, chosen with `config_name`; `compute` gives {measure: value}."""

    def _info(self) -> evaluate.MetricInfo:
        if self.config_name not in MEASURES:
            raise KeyError(f"config_name is {self.config_name!r}: choose one of {', '.join(MEASURES)}")
        value = datasets.Value("float32" if self.config_name in REGRESSIONS else "int64")
        return evaluate.MetricInfo(
            description="Metrics of the nine GLUE tasks.",
            citation=_CITATION,
            inputs_description="predictions and references: label numbers, or scores for a regression",
            features=datasets.Features({"predictions": value, "references": value}),
        )

    def _compute(self, predictions: Sequence[float], references: Sequence[float]) -> dict[str, float]:
        return {name: measure(predictions, references) for name, measure in MEASURES[self.config_name].items()}
