"""Parameters of BERT-base, from the report of models on the meta device (PAPER.md, derived sizes)."""

import pytest
import torch

from padnet_hf import PADBertConfig, PADBertForSequenceClassification
from padnet_hf.method.layer import pad_weights


def on_meta(**fields: object) -> PADBertForSequenceClassification:
    with torch.device("meta"):
        return PADBertForSequenceClassification(PADBertConfig(num_labels=2, **fields))


def test_bert_base_dense_and_fully_dynamic() -> None:
    report = on_meta().partition_report()
    assert report.dense.parameters == 109_483_778  # BertForSequenceClassification, bert-base-uncased
    assert report.fully_dynamic.parameters == report.current.parameters == pytest.approx(506.3e6, rel=1e-3)
    assert report.fully_dynamic.multiply_adds == 2 * report.dense.multiply_adds == 2 * 12 * 2 * 768 * 3072


@pytest.mark.parametrize("granularity", ["element", "unit"])
def test_bert_base_at_one_half(granularity: str) -> None:
    weights = pad_weights(on_meta()).items()
    counts = {name.removeprefix("bert."): weight.num_candidates(granularity) // 2 for name, weight in weights}
    if granularity == "unit":  # the output bias belongs to no unit: dynamic as long as any unit is
        counts |= {name: 1 for name in counts if name.endswith("down_proj_bias")}
    report = on_meta(dynamic_counts=counts, partition={"granularity": granularity}).partition_report()
    assert report.current.parameters == pytest.approx(308e6, rel=2e-3)
    assert report.dynamic_ratio == pytest.approx(0.5, abs=1e-3)
    share = {"element": 1.0, "unit": 0.75}[granularity]  # (1 - kappa + K * kappa) / K
    assert report.current.multiply_adds == share * report.fully_dynamic.multiply_adds
