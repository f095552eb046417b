"""setfit makes classifiers of PAD encoders out of a few examples, and keeps their partition."""

from pathlib import Path

import pytest
import torch
from datasets import Dataset
from setfit import SetFitModel, Trainer, TrainingArguments

from padnet_hf.models.pad_model import PADModelMixin
from tests.serving.documented import block_of
from tests.serving.samples import FORMS, TEXTS, made, save

FAMILIES = ("bert", "roberta", "modernbert", "deberta-v2")
FEW = Dataset.from_dict({"text": ["a fine film", "very good", "a bad plot", "dull"], "label": [1, 1, 0, 0]})
CASES = [("bert", form) for form in FORMS] + [(dense, "element") for dense in FAMILIES[1:]]


def check_partition(found: PADModelMixin, model: PADModelMixin) -> None:
    """The same masks."""
    assert type(found) is type(model)
    assert found.config.partition == model.config.partition
    buffers = dict(found.named_buffers())
    for name, mask in model.named_buffers():
        assert torch.equal(buffers[name], mask), name


@pytest.mark.parametrize(("dense", "form"), CASES)
def test_a_few_examples_train_body_and_head_and_all_of_it_is_saved(dense: str, form: str, tmp_path: Path) -> None:
    encoder = made(dense, "AutoModel", form)
    save(encoder, tmp_path / "encoder")
    model = SetFitModel.from_pretrained(str(tmp_path / "encoder"), labels=["bad", "good"], device="cpu")
    body = model.model_body[0].auto_model
    args = TrainingArguments(
        str(tmp_path / "runs"),
        max_steps=12,
        batch_size=4,
        report_to="none",
        save_strategy="no",
        body_learning_rate=1e-2,
    )
    Trainer(model, args, train_dataset=FEW).train()
    check_partition(body, encoder)
    before = dict(encoder.named_parameters())
    assert (
        sum(not torch.equal(before[name], parameter) for name, parameter in body.named_parameters()) > len(before) / 2
    )
    assert model.predict(FEW["text"][:]) == ["good", "good", "bad", "bad"]
    model.save_pretrained(str(tmp_path / "saved"))
    again = SetFitModel.from_pretrained(str(tmp_path / "saved"), device="cpu")
    check_partition(again.model_body[0].auto_model, encoder)
    assert torch.equal(again.predict_proba(TEXTS), model.predict_proba(TEXTS))
    assert again.predict(TEXTS) == model.predict(TEXTS)


def test_the_documents_program_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    encoder = made("bert", "AutoModel")
    save(encoder, tmp_path / "pad-encoder")
    monkeypatch.chdir(tmp_path)
    exec(compile(block_of("setfit", "python"), "docs/serving.md", "exec"), {"__name__": "document"})
    again = SetFitModel.from_pretrained(str(tmp_path / "few-shot"), device="cpu")
    check_partition(again.model_body[0].auto_model, encoder)
    assert str(again.predict(["a good film", "the plot"])) in capsys.readouterr().out
