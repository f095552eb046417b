"""Evaluation measures every row, in order, and leaves the model as it was."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from transformers import Trainer

from padnet_hf import PADNetError
from tests.hub.cases import make_batch, make_model
from tests.training.conftest import collate, imp, make_rows, small_bert

Make = Callable[..., Trainer]


def stretched(model: torch.nn.Module) -> torch.nn.Module:
    """With weights that bfloat16 cannot hold, and logits far enough apart to tell rows from each other."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    return model.eval()


@pytest.mark.parametrize("option", ["bf16_full_eval", "fp16_full_eval"])
@pytest.mark.parametrize("cached", [False, True])
def test_weights_keep_the_precision_that_they_were_trained_in(make_trainer: Make, option: str, cached: bool) -> None:
    trainer = make_trainer(stretched(small_bert()), callbacks=[imp()], **{option: True})
    model, batch = trainer.model, collate(make_rows())
    model.cache_built_weights(cached)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    pointers = [parameter.data_ptr() for parameter in model.parameters()]
    with torch.no_grad():
        expected = model(**batch)
    measured = trainer.evaluate()
    cast = trainer.predict(make_rows()).predictions
    for name, tensor in model.state_dict().items():
        assert tensor.dtype == before[name].dtype
        assert torch.equal(tensor, before[name])
    assert [parameter.data_ptr() for parameter in model.parameters()] == pointers
    with torch.no_grad():
        assert torch.equal(model(**batch).logits, expected.logits)
    assert measured["eval_loss"] == pytest.approx(expected.loss.item(), rel=0.05)
    assert not np.allclose(cast, expected.logits.numpy(), rtol=0, atol=1e-6)  # it was measured in half precision


def test_images_are_evaluated_in_the_precision_of_the_weights(make_trainer: Make) -> None:
    model, batch = make_model("resnet-unit"), make_batch("resnet")
    rows = [{name: values[row] for name, values in batch.items()} for row in range(3)]
    trainer = make_trainer(model, bf16_full_eval=True)
    with torch.no_grad():
        expected = model(**batch).logits
    found = trainer.predict(rows)
    assert found.label_ids.tolist() == batch["labels"].tolist()
    np.testing.assert_allclose(found.predictions, expected.numpy(), rtol=0, atol=0.05 * expected.abs().max().item())
    with torch.no_grad():
        assert torch.equal(model(**batch).logits, expected)


def test_scores_to_be_met_keep_their_precision(make_trainer: Make) -> None:
    model = small_bert()
    model.config.problem_type, model.num_labels = "regression", 1
    model.classifier = torch.nn.Linear(16, 1)
    scores = [0.1234567 * index for index in range(4)]
    rows = [{**row, "labels": torch.tensor(score)} for row, score in zip(make_rows(4), scores, strict=True)]
    found = make_trainer(model, bf16_full_eval=True).predict(rows)
    assert found.label_ids.tolist() == pytest.approx(scores, rel=1e-6)


def test_weights_come_back_after_an_evaluation_that_fails(make_trainer: Make) -> None:
    trainer = make_trainer(stretched(small_bert()), bf16_full_eval=True)

    def fail(outputs: Any) -> dict[str, float]:
        assert trainer.model.dtype == torch.bfloat16
        raise KeyError("fails")

    trainer.compute_metrics = fail
    with pytest.raises(KeyError):
        trainer.evaluate()
    assert trainer.model.dtype == torch.float32


@pytest.mark.parametrize(
    "options",
    [
        {"dataloader_drop_last": True},
        {"dataloader_drop_last": True, "per_device_eval_batch_size": 64},
        {"train_sampling_strategy": "group_by_length"},
    ],
)
def test_what_is_said_of_training_batches_is_not_said_of_evaluation(make_trainer: Make, options: dict) -> None:
    model = stretched(small_bert())
    rows = [{name: tensor[: 8 - index] for name, tensor in row.items() if name != "labels"} | {"labels": row["labels"]}
            for index, row in enumerate(make_rows(6))]  # fmt: skip
    plain, other = (make_trainer(model, per_device_eval_batch_size=1), make_trainer(model, **options))
    for trainer in (plain, other):
        trainer.data_collator = padded
    expected, found = plain.predict(rows), other.predict(rows)
    assert found.label_ids.tolist() == [0, 1, 0, 1, 0, 1]
    np.testing.assert_allclose(found.predictions, expected.predictions, rtol=0, atol=1e-5)
    assert other.evaluate(rows)["eval_loss"] > 0
    assert other.args.dataloader_drop_last == options.get("dataloader_drop_last", False)


def padded(rows: list[dict]) -> dict[str, torch.Tensor]:
    ids = [row["input_ids"] for row in rows]
    mask = [torch.ones_like(values) for values in ids]
    pad = torch.nn.utils.rnn.pad_sequence
    batch = {"input_ids": pad(ids, batch_first=True), "attention_mask": pad(mask, batch_first=True)}
    return batch | {"labels": torch.stack([row["labels"] for row in rows])}


def test_training_batches_are_dropped_as_asked(make_trainer: Make) -> None:
    assert len(make_trainer(small_bert()).get_train_dataloader()) == 3  # of ten rows: 4, 4 and 2
    assert len(make_trainer(small_bert(), dataloader_drop_last=True).get_train_dataloader()) == 2


@pytest.mark.parametrize(
    ("measure", "message"),
    [("evaluate", "the loss in evaluation is nan"), ("predict", "the model gives NaN, so nothing can be measured")],
)
def test_a_model_that_gives_nan_is_not_measured(make_trainer: Make, measure: str, message: str) -> None:
    trainer = make_trainer(small_bert())
    with torch.no_grad():
        trainer.model.classifier.weight[0, 0] = float("nan")
    with pytest.raises(PADNetError, match=message):
        getattr(trainer, measure)(make_rows())


def test_a_loss_that_is_not_finite_is_not_reported(make_trainer: Make) -> None:
    trainer = make_trainer(small_bert(), logging_nan_inf_filter=False)
    with torch.no_grad():
        trainer.model.classifier.bias.copy_(torch.tensor([3e38, -3e38]))
    with pytest.raises(PADNetError, match="the loss in evaluation is inf"):
        trainer.evaluate()
