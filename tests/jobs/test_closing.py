from pathlib import Path

import pytest
import torch
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    DistilBertConfig,
    DistilBertForSequenceClassification,
)

from padnet_hf import PADBertConfig, PADBertForSequenceClassification, PartitionConfig, partition
from padnet_hf.jobs.closing import WIDTH, adapter_row, closing_rows, print_closing


@pytest.fixture
def dense() -> BertForSequenceClassification:
    return BertForSequenceClassification(
        BertConfig(
            vocab_size=30, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
            max_position_embeddings=16,
        )
    )  # fmt: skip


@pytest.fixture
def partitioned(dense: BertForSequenceClassification) -> PADBertForSequenceClassification:
    model = PADBertForSequenceClassification.from_dense(dense)
    batch = {"input_ids": torch.arange(1, 21).reshape(2, 10), "labels": torch.tensor([0, 1])}
    partition(model, [batch], PartitionConfig(granularity="unit"), progress=False)
    return model


def test_the_network_of_the_run_has_its_file_and_metric_the_others_computed_sizes(partitioned, tmp_path: Path) -> None:
    partitioned.save_pretrained(tmp_path)
    dense, fully, own = closing_rows(
        partitioned, "partitioned", partitioned.partition_report(), str(tmp_path), {"accuracy": 0.5, "f1": 0.25}
    )
    assert [row[0] for row in (dense, fully, own)] == ["dense", "fully dynamic", "partitioned"]
    assert own[1] == f"{partitioned.num_parameters():,}"
    assert own[2] == f"{(tmp_path / 'model.safetensors').stat().st_size:,}"
    assert own[4] == "accuracy 0.5000\nf1 0.2500"
    for row in (dense, fully):
        assert row[2].endswith(" *")
        assert row[4] == "-"
    counts = [int(row[3].replace(",", "")) for row in (dense, own, fully)]
    assert counts == sorted(set(counts))


def test_a_dense_run_knows_the_fully_dynamic_size_but_no_partition(dense, tmp_path: Path) -> None:
    dense.save_pretrained(tmp_path)
    with torch.device("meta"):
        report = PADBertForSequenceClassification(PADBertConfig.from_dense(dense.config)).partition_report()
    own, fully, missing = closing_rows(dense, "static", report, str(tmp_path), {"accuracy": 0.5}, plain="static")
    assert own[0] == "static"
    assert own[1] == f"{dense.num_parameters():,}"
    assert own[4] == "accuracy 0.5000"
    assert fully[1] == f"{PADBertForSequenceClassification.from_dense(dense).num_parameters():,}"
    assert missing == ("partitioned", "-", "-", "-", "-")


def test_a_model_without_a_dynamic_form_has_its_own_row(tmp_path: Path) -> None:
    config = DistilBertConfig(vocab_size=8, dim=8, n_layers=1, n_heads=1, hidden_dim=8)
    model = DistilBertForSequenceClassification(config)
    model.save_pretrained(tmp_path)
    own, *others = closing_rows(model, "dense", None, str(tmp_path), {})
    stored = (tmp_path / "model.safetensors").stat().st_size
    assert own == ("dense", f"{model.num_parameters():,}", f"{stored:,}", "-", "-")
    assert all(row[1:] == ("-", "-", "-", "-") for row in others)


def test_an_adapter_has_a_row_of_what_it_adds(dense, tmp_path: Path) -> None:
    dense.requires_grad_(False).classifier.requires_grad_(True)
    (tmp_path / "adapter_model.safetensors").write_bytes(b"0" * 1234)
    row = adapter_row(dense, str(tmp_path), {"accuracy": 0.5})
    assert row == ("with its adapter", "+ 34", "+ 1,234", "-", "accuracy 0.5000")


def test_the_table_fits_a_log_and_ends_with_the_line_that_loads(capsys: pytest.CaptureFixture[str]) -> None:
    number = f"{10**9:,}"
    rows = [(name, number, f"{number} *", number, "-") for name in ("dense", "fully dynamic")]
    folder = "runs/a folder with a long name that must not be broken over two lines, however wide it is/" * 2
    rows.append(("partitioned", number, number, number, "accuracy 0.8603\nmatthews_correlation -0.4321"))
    print_closing(rows, folder, auto_class="AutoModelForImageClassification", per="image", counted="convolutions")
    lines = capsys.readouterr().out.rstrip().splitlines()
    assert max(map(len, lines[:-1])) <= WIDTH
    assert f"AutoModelForImageClassification.from_pretrained({folder!r})" in lines[-1]
    assert any("per image" in line for line in lines)
    assert any("multiply-adds: convolutions only" in line for line in lines)
    assert lines[-1].strip().startswith("import padnet_hf; ")
    assert sum(line.count(number) for line in lines) == 9
    assert any(line.rstrip().endswith("matthews_correlation -0.4321") for line in lines)
