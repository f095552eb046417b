"""The folder for text-embeddings-inference is all that the server needs, and what it does not serve is refused."""

import json
import logging
from pathlib import Path

import numpy as np
import pytest
import torch

from padnet_hf import PADNetError
from padnet_hf.export.exporting import export_model
from padnet_hf.export.text_embeddings import pooling_beside
from padnet_hf.models.pad_model import PADModelMixin
from tests.export.tei_folder import read
from tests.models.samples import small_pad
from tests.serving.samples import LONGEST, TEXTS, made, tokenizer_for


def tokens_of(model: PADModelMixin) -> dict[str, torch.Tensor]:
    return dict(tokenizer_for(model)(TEXTS, padding=True, return_tensors="pt", return_token_type_ids=False))


@torch.no_grad()
def pooled(model: PADModelMixin, pooling: str) -> torch.Tensor:
    batch = tokens_of(model)
    hidden, mask = model(**batch).last_hidden_state, batch["attention_mask"]
    if pooling == "cls":
        return hidden[:, 0]
    if pooling == "lasttoken":
        return hidden[torch.arange(len(TEXTS)), mask.sum(1) - 1]
    return (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)


MORE = [
    ("roberta", "cls"),
    ("distilbert", "mean"),
    ("modernbert", "mean"),
    ("deberta-v2", "cls"),
    ("llama", "lasttoken"),
]
CASES = [("bert", "mean"), *(pytest.param(*case, marks=pytest.mark.slow) for case in MORE)]


@pytest.mark.parametrize(("dense", "pooling"), CASES)
def test_the_folder_alone_gives_the_models_embeddings(dense: str, pooling: str, tmp_path: Path) -> None:
    model = made(dense, "AutoModel", **({"num_hidden_layers": 1} if dense == "bert" else {}))
    tokenizer = tokenizer_for(model)
    tokenizer.model_max_length = 10**30  # says nothing: the model's positions do, less those that RoBERTa leaves free
    report = export_model(model, tmp_path, "tei", processing_class=tokenizer, pooling=pooling)
    assert (tmp_path / report.file).stat().st_size == report.file_bytes
    found = read(tmp_path)
    assert found.longest == 20
    torch.testing.assert_close(torch.from_numpy(found.embeddings(TEXTS)), pooled(model, pooling), rtol=0, atol=1e-5)
    long = " ".join(["fine"] * 60)
    assert np.isfinite(found.embeddings([long])).all()  # cut to what the model takes
    assert pooling_beside(str(tmp_path)) == pooling


def test_the_folder_alone_gives_a_classifiers_logits_and_the_names_of_its_labels(tmp_path: Path) -> None:
    model = made("bert", "AutoModelForSequenceClassification", num_labels=2, num_hidden_layers=1)
    export_model(model, tmp_path, "tei", processing_class=tokenizer_for(model))
    found = read(tmp_path)
    assert found.longest == LONGEST  # the tokenizer's
    assert found.config["architectures"] == ["PADBertForSequenceClassification"]
    assert found.config["label2id"] == {"LABEL_0": 0, "LABEL_1": 1}
    assert len(found.config["id2label"]) == 2
    with torch.no_grad():
        expected = model(**tokens_of(model)).logits
    torch.testing.assert_close(torch.from_numpy(found.outputs(TEXTS)[0]["logits"]), expected, rtol=0, atol=1e-5)
    assert not (tmp_path / "1_Pooling").exists()


@pytest.mark.parametrize(
    ("auto_class", "fields", "message"),
    [
        ("AutoModel", {}, "the pooling is None, but must be one of mean, cls, lasttoken"),
        ("AutoModel", {"pooling": "max"}, "the pooling is 'max', but must be one of mean, cls, lasttoken"),
        ("AutoModelForSequenceClassification", {"pooling": "mean"}, "the pooling is 'mean', but .* is a classifier"),
        ("AutoModelForTokenClassification", {}, "without a head, not PADBertForTokenClassification"),
        ("AutoModelForMaskedLM", {"pooling": "mean"}, "without a head, not PADBertForMaskedLM"),
        ("AutoModel", {"pooling": "mean", "processing_class": None}, "tokenizer.json, but there is none"),
        ("AutoModel", {"pooling": "mean", "quantize": "int8"}, "int8 weights need the format 'onnx'"),
        ("AutoModel", {"pooling": "mean", "format": "onnx"}, "'mean', but is for the format 'tei'"),
    ],
)
def test_what_the_server_does_not_take_is_refused(auto_class: str, fields: dict, message: str, tmp_path: Path) -> None:
    model = small_pad("bert", auto_class)
    given = {"format": "tei", "processing_class": tokenizer_for(model)} | fields
    with pytest.raises(PADNetError, match=message):
        export_model(model, tmp_path / "new", **given)
    assert not (tmp_path / "new").exists()


def test_a_sentence_model_that_does_more_than_the_server_is_refused(tmp_path: Path) -> None:
    modules = [{"type": f"sentence_transformers.models.{name}"} for name in ("Transformer", "Pooling", "Dense")]
    (tmp_path / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(PADNetError, match="has the module Dense, which text-embeddings-inference leaves out"):
        pooling_beside(str(tmp_path))


def test_the_pooling_of_a_sentence_model_is_read_in_both_forms(tmp_path: Path) -> None:
    file = tmp_path / "1_Pooling" / "config.json"
    file.parent.mkdir()
    for content, pooling in (
        ({"pooling_mode": "cls"}, "cls"),
        ({"pooling_mode": ["cls", "mean"]}, "cls+mean"),
        ({"pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True}, "mean"),
        ({"pooling_mode_max_tokens": True}, ""),
    ):
        file.write_text(json.dumps(content))
        assert pooling_beside(str(tmp_path)) == pooling


def test_prompts_that_are_left_out_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "config_sentence_transformers.json"
    for prompts, is_named in (({"query": "", "document": ""}, False), ({"query": "find: "}, True)):
        path.write_text(json.dumps({"prompts": prompts}))
        with caplog.at_level(logging.WARNING):
            assert pooling_beside(str(tmp_path)) is None
        assert ("--default-prompt, {'query': 'find: '}" in caplog.text) == is_named
