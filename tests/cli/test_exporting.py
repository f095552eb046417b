"""`padnet export`: a folder that serves by itself."""

import json
import logging
from pathlib import Path

import onnxruntime
import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoModelForImageClassification,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertTokenizer,
)

from padnet_hf import PADNetError, PartitionConfig, partition
from tests.cli.samples import SPECIAL, WORDS, Padnet
from tests.models.samples import small_pad

SENTENCES = ["a fine film", "the plot", "a very very bad film"]


def test_a_checkpoint_becomes_a_folder_that_onnxruntime_serves(
    padnet: Padnet, partitioned_folders: dict[str, Path], tmp_path: Path
) -> None:
    report = json.loads(padnet("export", partitioned_folders["bert"], tmp_path / "onnx", "--json"))
    assert report["format"] == "onnx"
    assert report["file_bytes"] == (tmp_path / "onnx" / "model.onnx").stat().st_size
    batch = AutoTokenizer.from_pretrained(tmp_path / "onnx")(SENTENCES, padding=True, return_tensors="np")
    session = onnxruntime.InferenceSession(tmp_path / "onnx" / "model.onnx")
    found = session.run(["logits"], dict(batch))[0]
    model = AutoModelForSequenceClassification.from_pretrained(partitioned_folders["bert"]).eval()
    with torch.no_grad():
        expected = model(**{name: torch.from_numpy(array) for name, array in batch.items()}).logits
    torch.testing.assert_close(torch.from_numpy(found), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_images_in_half_precision_are_exported_in_float32(
    padnet: Padnet, partitioned_folders: dict[str, Path], tmp_path: Path
) -> None:
    model = AutoModelForImageClassification.from_pretrained(partitioned_folders["resnet"], dtype=torch.bfloat16)
    model.save_pretrained(tmp_path / "half")
    printed = padnet("export", tmp_path / "half", tmp_path / "out", "--quantize", "int8")
    assert printed.startswith(f"{tmp_path / 'out' / 'model.onnx'}: ONNX, opset 21, int8 weights: ")
    assert "maximum difference from the model" in printed


def test_without_a_tokenizer_there_is_a_warning(
    padnet: Padnet, tmp_path: Path, caplog: pytest.LogCaptureFixture, partitioned_folders: dict[str, Path]
) -> None:
    source = tmp_path / "bare"
    source.mkdir()
    for name in ("config.json", "model.safetensors"):
        (source / name).symlink_to(partitioned_folders["bert"] / name)
    with caplog.at_level(logging.WARNING):
        padnet("export", source, tmp_path / "out", "--format", "torch")
    assert "has nothing for AutoTokenizer" in caplog.text
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"config.json", "model.pt2"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--format", "tflite"), "the format is 'tflite'"),
        (("--opset", 9), "opset is 9, but must be from 18"),
        (("--quantize", "int2"), "quantize is 'int2'"),
    ],
)
def test_wrong_options_are_refused_before_anything_is_loaded(
    options: tuple, message: str, padnet: Padnet, tmp_path: Path
) -> None:
    with pytest.raises(PADNetError, match=message):
        padnet("export", "org/missing", tmp_path / "out", *options)


def test_a_dense_checkpoint_and_a_folder_in_use_are_refused(
    padnet: Padnet, dense_folders: dict[str, Path], partitioned_folders: dict[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(PADNetError, match="is not a PAD checkpoint"):
        padnet("export", dense_folders["bert"], tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.raises(PADNetError, match="is there already, and not empty"):
        padnet("export", partitioned_folders["bert"], dense_folders["bert"])


def test_a_language_model_becomes_a_stock_checkpoint(padnet: Padnet, tmp_path: Path) -> None:
    fields = {"mlp_bias": False, "max_position_embeddings": 64}
    model = small_pad("llama", "AutoModelForCausalLM", **fields)
    partition(model, None, PartitionConfig(criterion="random", granularity="unit", scope="layer"), progress=False)
    model.save_pretrained(tmp_path / "pad")
    argv = ("export", tmp_path / "pad", tmp_path / "stock", "--format", "transformers", "--target", "qwen2_moe")
    assert padnet(*argv).startswith(f"{tmp_path / 'stock'}: Qwen2MoeForCausalLM, ")
    stock = AutoModelForCausalLM.from_pretrained(tmp_path / "stock")
    ids = torch.arange(20).view(2, 10)
    with torch.no_grad():
        torch.testing.assert_close(stock(ids).logits, model(ids).logits, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--format", "transformers", "--quantize", "int8"), "--quantize int8 is for --format onnx"),
        (("--target", "qwen2_moe"), "--target qwen2_moe is for --format transformers"),
        (("--format", "gguf"), "must be one of onnx, torch"),
    ],
)
def test_options_of_another_format_are_refused(
    padnet: Padnet, options: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    with pytest.raises(PADNetError, match=message):
        padnet("export", tmp_path / "not there", tmp_path / "out", *options)


def test_a_sentence_model_keeps_its_pooling_for_text_embeddings_inference(padnet: Padnet, tmp_path: Path) -> None:
    source, words = tmp_path / "encoder", {word: number for number, word in enumerate(SPECIAL + WORDS)}
    small_pad("bert", "AutoModel").save_pretrained(source)
    BertTokenizer(words).save_pretrained(source)
    with pytest.raises(PADNetError, match="the pooling is None, but must be one of mean, cls, lasttoken"):
        padnet("export", source, tmp_path / "none", "--format", "tei")
    (source / "1_Pooling").mkdir()
    (source / "1_Pooling" / "config.json").write_text('{"embedding_dimension": 16, "pooling_mode": "cls"}')
    printed = padnet("export", source, tmp_path / "tei", "--format", "tei")
    assert printed.startswith(f"{tmp_path / 'tei' / 'onnx' / 'model.onnx'}: ONNX, opset 21, ")
    written = json.loads((tmp_path / "tei" / "1_Pooling" / "config.json").read_text())
    assert written["pooling_mode_cls_token"]
    assert not written["pooling_mode_mean_tokens"]
    (source / "1_Pooling" / "config.json").write_text("{")
    with pytest.raises(PADNetError, match="cannot load"):
        padnet("export", source, tmp_path / "again", "--format", "tei")


def test_images_are_refused_for_text_embeddings_inference(
    padnet: Padnet, partitioned_folders: dict[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(PADNetError, match=r"takes classifiers of texts .* not PADResNetForImageClassification"):
        padnet("export", partitioned_folders["resnet"], tmp_path / "out", "--format", "tei")
    with pytest.raises(PADNetError, match="--pooling mean is for --format tei"):
        padnet("export", partitioned_folders["bert"], tmp_path / "out", "--pooling", "mean")
