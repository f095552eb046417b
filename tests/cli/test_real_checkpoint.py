"""The whole way on a real checkpoint: all-MiniLM-L6-v2, a bare BERT of 6 layers."""

import json
from pathlib import Path

import torch
from torch import Tensor
from transformers import AutoModel, AutoTokenizer, BertModel

from padnet_hf import PADBertModel
from padnet_hf.method.layer import pad_weights
from tests.cli.samples import Padnet
from tests.conftest import SENTENCES


def test_upcycled_partitioned_inspected_and_dense_again(padnet: Padnet, minilm_folder: str, tmp_path: Path) -> None:
    def features(folder: object) -> Tensor:
        encoded = AutoTokenizer.from_pretrained(str(folder))(SENTENCES, padding=True, return_tensors="pt")
        with torch.no_grad():
            return AutoModel.from_pretrained(str(folder))(**encoded).last_hidden_state

    dynamic, unit, static, dense = (tmp_path / name for name in ("dynamic", "unit", "static", "dense"))
    padnet("upcycle", minilm_folder, dynamic, "--num-experts", 2)
    padnet("partition", dynamic, unit, "--criterion", "magnitude", "--granularity", "unit", "--dynamic-ratio", 0.25)
    padnet("partition", dynamic, static, "--dynamic-ratio", 0)
    padnet("to-dense", static, dense)

    expected = features(minilm_folder)
    for folder in (dynamic, unit, static, dense):
        torch.testing.assert_close(features(folder), expected, rtol=0, atol=1e-4)
    assert type(AutoModel.from_pretrained(dense)) is BertModel

    told, model = json.loads(padnet("inspect", unit, "--json")), PADBertModel.from_pretrained(unit)
    assert told["current"]["parameters"] == model.num_parameters()
    assert told["current"]["bytes"] == told["file_bytes"] - _header_bytes(unit / "model.safetensors")
    dynamic_elements = sum(weight.num_dynamic_elements for weight in pad_weights(model).values())
    elements = sum(layer["dense"]["parameters"] for layer in told["layers"])
    assert round(told["dynamic_ratio"] * elements) == dynamic_elements
    assert abs(told["dynamic_ratio"] - 0.25) < 0.01


def _header_bytes(path: Path) -> int:
    with path.open("rb") as file:
        return 8 + int.from_bytes(file.read(8), "little")
