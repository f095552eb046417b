from pathlib import Path

import pandas as pd
import pytest
import torch
from transformers import BertTokenizer

from padnet_hf.method.config import PartitionConfig
from studies.trained import main, measure, ways
from tests.models.samples import inputs_of, set_apart, small_pad

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "fine", "dull", "film"]


@pytest.fixture
def model_folder(tmp_path: Path) -> str:
    folder = tmp_path / "moe"
    set_apart(small_pad("bert", "AutoModelForSequenceClassification", num_labels=2)).save_pretrained(folder)
    BertTokenizer({word: number for number, word in enumerate(WORDS)}).save_pretrained(folder)
    return str(folder)


def test_every_way_is_measured_on_all_rows(
    model_folder: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = pd.DataFrame({"text": ["a fine film", "a dull film"] * 20, "label": [1, 0] * 20})
    rows.to_csv(tmp_path / "rows.csv", index=False)
    files = ["--data", str(tmp_path / "rows.csv"), "--validation", str(tmp_path / "rows.csv")]
    main([model_folder, *files, "--ratios", "0.5", "--batches", "2"])
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].startswith("copies are strangers")
    table = [line.rsplit(maxsplit=3) for line in printed if line and line.split()[-1].replace(".", "").isdigit()]
    assert len(table) == 1 + len(list(ways([0.5])))
    assert all(accuracy in ("0.0", "50.0", "100.0") for _, accuracy, _, _ in table)  # of 20 equal pairs
    shares = {name: float(share) for name, _, _, share in table}
    assert shares["fully dynamic"] == 1
    assert shares["0.0, mean"] < shares["0.5, element, fisher, fisher"] < 1
    assert len({loss for _, _, loss, _ in table}) > 3


def test_ways_are_partitions_that_exist() -> None:
    assert len({PartitionConfig(**fields) for fields in ways([0.3, 0.1])}) == 3 + 2 * 6


def test_accuracy_and_loss_are_over_rows_and_not_over_batches() -> None:
    model = small_pad("bert", "AutoModelForSequenceClassification", num_labels=2)
    inputs = inputs_of(model)
    labels = torch.tensor([0, 1] * len(inputs["input_ids"]))[: len(inputs["input_ids"])]
    whole = inputs | {"labels": labels}
    parts = [{name: tensor[:1] for name, tensor in whole.items()}, {name: tensor[1:] for name, tensor in whole.items()}]
    assert measure(model, parts) == pytest.approx(measure(model, [whole]), rel=1e-5)
