"""sentence-transformers takes PAD encoders as they are: embeddings, training, checkpoints."""

from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import Dataset
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from sentence_transformers.sentence_transformer.losses import CosineSimilarityLoss
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

from padnet_hf import PADTrainer
from padnet_hf.method.layer import pad_weights
from padnet_hf.models.pad_model import PADModelMixin
from tests.serving.documented import block_of
from tests.serving.samples import FORMS, TEXTS, made, save, tokenizer_for

FAMILIES = ("bert", "roberta", "modernbert", "deberta-v2")
PAIRS = Dataset.from_dict({"one": TEXTS, "other": TEXTS[::-1], "score": [1.0, 0.0, 0.5] * 2})
TRAINERS = [SentenceTransformerTrainer, type("PADSentenceTrainer", (PADTrainer, SentenceTransformerTrainer), {})]
TRAINED = [*((dense, TRAINERS[1]) for dense in FAMILIES), ("bert", TRAINERS[0])]
pytestmark = pytest.mark.filterwarnings("ignore:the model has no labels")

every_family = pytest.mark.parametrize("dense", FAMILIES)
every_form = pytest.mark.parametrize("form", FORMS)


def saved(dense: str, form: str, folder: Path, **fields: float) -> PADModelMixin:
    """The encoder that is in the folder, without dropout."""
    no_dropout = {"modernbert": ("attention_dropout", "embedding_dropout", "mlp_dropout")}
    names = no_dropout.get(dense, ("hidden_dropout_prob", "attention_probs_dropout_prob"))
    model = made(dense, "AutoModel", form, **dict.fromkeys(names, 0.0), **fields)
    save(model, folder)
    return model


@torch.no_grad()
def pooled(model: PADModelMixin, texts: list[str], pooling: str = "mean") -> torch.Tensor:
    batch = tokenizer_for(model)(texts, padding=True, return_tensors="pt", return_token_type_ids=False)
    hidden, mask = model(**batch).last_hidden_state, batch["attention_mask"].unsqueeze(-1)
    return hidden[:, 0] if pooling == "cls" else (hidden * mask).sum(1) / mask.sum(1)


def trained(
    folder: Path, out: Path, trainer_class: type, resume: str | None = None, **options: object
) -> SentenceTransformer:
    """After a few steps."""
    encoder = SentenceTransformer(str(folder), device="cpu")
    defaults = {
        "max_steps": 3,
        "per_device_train_batch_size": 6,
        "learning_rate": 1e-2,
        "lr_scheduler_type": "constant",
    }
    defaults |= {"report_to": "none", "disable_tqdm": True, "save_strategy": "no", "use_cpu": True}
    args = SentenceTransformerTrainingArguments(str(out), **defaults | options)
    trainer_class(encoder, args, PAIRS, loss=CosineSimilarityLoss(encoder)).train(resume)
    return encoder


@every_form
@every_family
def test_embeddings_are_the_models_own_outputs_pooled(dense: str, form: str, tmp_path: Path) -> None:
    model = saved(dense, form, tmp_path)
    encoder = SentenceTransformer(str(tmp_path), device="cpu")
    assert type(encoder[0].auto_model) is type(model)
    found = encoder.encode(TEXTS, batch_size=len(TEXTS), convert_to_tensor=True)
    torch.testing.assert_close(found, pooled(model, TEXTS), rtol=0, atol=1e-6)
    with_cls = SentenceTransformer(modules=[Transformer(str(tmp_path)), Pooling(16, "cls")], device="cpu")
    torch.testing.assert_close(
        with_cls.encode(TEXTS, batch_size=2, convert_to_tensor=True), pooled(model, TEXTS, "cls"), rtol=0, atol=1e-6
    )


@pytest.mark.parametrize(
    ("dense", "trainer_class"), [*((dense, TRAINERS[1]) for dense in FAMILIES), ("bert", TRAINERS[0])]
)
@every_form
def test_training_moves_weights_and_keeps_the_partition(
    dense: str, form: str, trainer_class: type, tmp_path: Path
) -> None:
    model = saved(dense, form, tmp_path / "model")
    encoder = trained(tmp_path / "model", tmp_path / "runs", trainer_class)
    after = encoder[0].auto_model
    assert after.config.partition == model.config.partition
    masks, moved = dict(after.named_buffers()), dict(after.named_parameters())
    for name, mask in model.named_buffers():
        assert torch.equal(masks[name], mask), name
    changed = {name for name, parameter in model.named_parameters() if not torch.equal(moved[name], parameter)}
    for name, weight in pad_weights(model).items():
        assert {f"{name}.{part}" for part, _ in weight.named_parameters()} & changed, name
    encoder.save_pretrained(str(tmp_path / "saved"))
    again = SentenceTransformer(str(tmp_path / "saved"), device="cpu")
    assert again[0].auto_model.config.partition == model.config.partition
    np.testing.assert_array_equal(again.encode(TEXTS), encoder.encode(TEXTS))
    assert not np.allclose(again.encode(TEXTS), pooled(model, TEXTS), atol=1e-3)


@pytest.mark.parametrize("coef", [0.0, 5.0])
def test_with_padtrainer_a_step_has_the_balance_loss(coef: float, tmp_path: Path) -> None:
    model = saved("bert", "element", tmp_path / "model", balance_loss_coef=coef)
    options = {"max_steps": 1, "optim": "sgd", "learning_rate": 1.0, "max_grad_norm": 0.0}
    found = trained(tmp_path / "model", tmp_path / "runs", TRAINERS[1], **options)[0].auto_model
    model.train()
    pooled, balance = [], []
    for name in ("one", "other"):
        batch = tokenizer_for(model)(PAIRS[name][:], padding=True, return_tensors="pt")
        output, mask = model(**batch), batch["attention_mask"].unsqueeze(-1)
        pooled.append((output.last_hidden_state * mask).sum(1) / mask.sum(1))
        balance.append(output.balance_loss)
    task = torch.nn.functional.mse_loss(torch.cosine_similarity(*pooled), torch.tensor(PAIRS["score"][:]))
    (task + coef * torch.stack(balance).mean()).backward()
    after = dict(found.named_parameters())
    for name, parameter in model.named_parameters():
        step = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        torch.testing.assert_close(
            parameter - after[name], step, rtol=1e-3, atol=2e-5, msg=lambda m, n=name: f"{n}: {m}"
        )


@pytest.mark.parametrize("trainer_class", TRAINERS, ids=lambda trainer: trainer.__name__)
@every_form
def test_a_run_is_resumed_and_repeated_over_its_checkpoints(form: str, trainer_class: type, tmp_path: Path) -> None:
    saved("bert", form, tmp_path / "model")
    options = {"save_strategy": "steps", "save_steps": 1, "max_steps": 2, "optim": "sgd"}
    once, again = (trained(tmp_path / "model", tmp_path / "runs", trainer_class, **options) for _ in range(2))
    first = str(tmp_path / "runs" / "checkpoint-1")
    resumed = trained(tmp_path / "model", tmp_path / "others", trainer_class, first, **options)
    for other in (again, resumed, SentenceTransformer(str(tmp_path / "runs" / "checkpoint-2"), device="cpu")):
        np.testing.assert_array_equal(once.encode(TEXTS), other.encode(TEXTS))


def test_the_documents_program_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = saved("bert", "element", tmp_path / "pad-encoder")
    monkeypatch.chdir(tmp_path)
    exec(compile(block_of("sentence-transformers", "python"), "docs/serving.md", "exec"), {"__name__": "document"})
    encoder = SentenceTransformer(str(tmp_path / "sentence-encoder"), device="cpu")
    assert encoder[0].auto_model.config.partition == model.config.partition
    assert encoder.encode(["no"]).shape == (1, 16)
