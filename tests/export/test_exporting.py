import copy
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import numpy_helper
from transformers import AutoConfig, BertTokenizer

from padnet_hf import PADNetError
from padnet_hf.export import exporting, onnx_file
from padnet_hf.export.exporting import export_model
from padnet_hf.export.onnx_file import OnnxRunner
from padnet_hf.export.program import random_inputs
from tests.cli.samples import SPECIAL
from tests.export.conftest import Exported
from tests.export.models import CASES, OWN, small
from tests.models.samples import small_dense

PATHS = (str(Path(exporting.__file__).parents[2]).encode(), str(Path(torch.__file__).parents[1]).encode())


def check(folder: Path, model: torch.nn.Module, tolerance: float = 1e-5) -> None:
    run = OnnxRunner(folder / "model.onnx")
    for batch, length in ((1, 3), (6, 21)):
        inputs = random_inputs(model, batch, length, seed=9)
        with torch.no_grad():
            expected = model(**inputs).logits
        torch.testing.assert_close(run(**inputs)["logits"], expected, rtol=0, atol=tolerance * float(expected.std()))


def test_onnxruntime_gives_the_models_logits_for_other_batches_and_lengths(exported: Exported) -> None:
    check(exported.folder, exported.model)
    assert exported.report.max_difference < 1e-5 * exported.report.largest_output


@pytest.mark.slow
@pytest.mark.parametrize("quantize", [None, "int8"])
@pytest.mark.parametrize("case", [*CASES, *OWN])
def test_every_form_is_right_in_onnxruntime(case: str, quantize: str | None, tmp_path: Path) -> None:
    model = small(case)
    export_model(model, tmp_path, quantize=quantize)
    check(tmp_path, model, 1e-5 if quantize is None else 0.1)


@pytest.mark.slow
@pytest.mark.parametrize("opset", [onnx_file.OPSETS[0], onnx_file.OPSETS[-1]])
def test_the_oldest_and_the_newest_operators_do(opset: int, tmp_path: Path) -> None:
    model = small("bert-element")
    assert export_model(model, tmp_path, opset=opset).opset == opset
    check(tmp_path, model)


def test_a_file_is_as_large_as_the_compact_model(exported: Exported) -> None:
    report = exported.report
    assert report.file_bytes == (exported.folder / "model.onnx").stat().st_size
    graph_alone = 80_000  # operators, names and shapes; the same for a layer of any size
    assert report.model_bytes < report.file_bytes < report.model_bytes + graph_alone
    weights = [numpy_helper.to_array(one) for one in onnx.load(exported.folder / "model.onnx").graph.initializer]
    up = exported.model.bert.encoder.layer[0].intermediate.dense.experts.up_proj
    assert not any(
        weight.size >= up.num_copies * up.shape.numel() for weight in weights
    )  # nothing is built in the file
    assert any(weight.dtype == np.uint8 and weight.size == up.shape.numel() // 8 for weight in weights)  # masks as bits


def test_no_path_of_this_machine_is_in_a_file(exported: Exported, tmp_path: Path) -> None:
    export_model(small("resnet-element"), tmp_path, "torch")
    for path in (exported.folder / "model.onnx", tmp_path / "model.pt2"):
        content = path.read_bytes()
        assert not any(part in content for part in PATHS), path


def test_int8_weights_take_about_a_quarter(exported: Exported, tmp_path: Path) -> None:
    model = exported.model
    report = export_model(model, tmp_path, quantize="int8")
    saved = exported.report.file_bytes - report.file_bytes
    weights = sum(p.numel() for p in model.parameters())
    assert saved == pytest.approx(weights * (4 - 1 - 4 / 64), rel=0.03)
    check(tmp_path, model, 0.1)
    folded = onnxruntime.SessionOptions()
    folded.add_session_config_entry("session.disable_quant_qdq", "1")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", folded)
    inputs = random_inputs(model, 3, 7)
    found = session.run(None, {name: tensor.numpy() for name, tensor in inputs.items()})[0]
    torch.testing.assert_close(torch.from_numpy(found), OnnxRunner(tmp_path / "model.onnx")(**inputs)["logits"])


@pytest.mark.parametrize("is_dense", [False, True])
def test_the_torch_format_loads_without_the_model(is_dense: bool, tmp_path: Path) -> None:
    model = small_dense("bert", "AutoModelForSequenceClassification") if is_dense else small("bert-unit")
    report = export_model(model, tmp_path, "torch")
    assert report.opset is None
    inputs = random_inputs(model, 3, 9, seed=4)
    with torch.no_grad():
        expected = model(**inputs).logits
    torch.testing.assert_close(torch.export.load(tmp_path / "model.pt2").module()(**inputs)["logits"], expected)


def test_configuration_and_tokenizer_lie_beside_the_graph(tmp_path: Path) -> None:
    model = small("bert-full")
    model.config.auto_map = {"AutoConfig": "code.Config"}
    export_model(model, tmp_path, "torch", processing_class=BertTokenizer({w: i for i, w in enumerate(SPECIAL)}))
    assert {"config.json", "model.pt2", "tokenizer.json"} <= {path.name for path in tmp_path.iterdir()}
    assert AutoConfig.from_pretrained(tmp_path).num_labels == 3
    assert "auto_map" not in (tmp_path / "config.json").read_text()
    assert model.config.auto_map


def test_a_graph_that_gives_other_values_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = small("resnet-full")
    write = exporting._write_torch

    def another(given: torch.nn.Module, path: Path) -> object:
        changed = copy.deepcopy(given)
        torch.nn.init.ones_(changed.classifier[1].bias)
        return write(changed, path)

    monkeypatch.setattr(exporting, "_write_torch", another)
    with pytest.raises(PADNetError, match="gives other values than the model"):
        export_model(model, tmp_path, "torch")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"format": "tflite"}, "'tflite', but must be one of onnx, torch"),
        ({"opset": 11}, "opset is 11, but must be from 18 to 23"),
        ({"quantize": "int4"}, "'int4', but must be 'int8'"),
        ({"quantize": "int8", "opset": 20}, "need the format 'onnx' with opset 21 or newer, not opset 20"),
        ({"quantize": "int8", "format": "torch"}, "not format 'torch'"),
    ],
)
def test_what_cannot_be_written_is_refused(arguments: dict, message: str, tmp_path: Path) -> None:
    with pytest.raises(PADNetError, match=message):
        export_model(small("bert-full"), tmp_path / "new", **arguments)
    assert not (tmp_path / "new").exists()


def test_a_model_that_trains_or_is_not_float32_is_refused(tmp_path: Path) -> None:
    model = small("bert-full")
    with pytest.raises(PADNetError, match=r"training mode.*model.eval\(\)"):
        export_model(model.train(), tmp_path / "new")
    with pytest.raises(PADNetError, match=r"bfloat16 on 'cpu'.*model.float\(\)"):
        export_model(model.eval().bfloat16(), tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_folder_with_something_in_it_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_text("mine")
    with pytest.raises(PADNetError, match="is there already, and not empty: give a new folder"):
        export_model(small("bert-full"), tmp_path)
    assert (tmp_path / "model.onnx").read_text() == "mine"


def test_missing_packages_are_named_with_how_to_install_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_file.importlib.util, "find_spec", lambda name: None if name == "onnxruntime" else name)
    with pytest.raises(PADNetError, match=r"needs what is not installed here: pip install onnxruntime"):
        export_model(small("bert-full"), tmp_path / "new")


def test_weights_too_large_for_one_file_go_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_file, "_ONE_FILE", 1000)
    model = small("resnet-unit")
    report = export_model(model, tmp_path)
    parts = [tmp_path / "model.onnx", tmp_path / "model.onnx.data"]
    assert report.file_bytes == sum(path.stat().st_size for path in parts)
    check(tmp_path, model)
