"""An exported model, written once."""

from pathlib import Path
from typing import NamedTuple

import pytest
from transformers import PreTrainedModel

from padnet_hf.export.exporting import ExportReport, export_model
from tests.export.models import small


class Exported(NamedTuple):
    model: PreTrainedModel
    folder: Path
    report: ExportReport


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """A BERT partitioned by element in ONNX, wide enough that weights are most of its bytes. Do not change it."""
    folder = tmp_path_factory.mktemp("exported") / "onnx"
    model = small("bert-element", hidden_size=64, intermediate_size=1024)
    return Exported(model, folder, export_model(model, folder))
