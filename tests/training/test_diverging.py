"""A training that diverged is an error, and what was saved before stays."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoModelForSequenceClassification, Trainer, TrainerCallback

from padnet_hf import PADNetError
from padnet_hf.training.soundness import Losses, not_finite
from tests.training.conftest import imp, small_bert

Make = Callable[..., Trainer]


class Spoil(TrainerCallback):
    """Makes a parameter infinite after a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, args: object, state: object, control: object, model: nn.Module, **kwargs: object) -> None:
        if state.global_step == self.step:
            with torch.no_grad():
                model.classifier.weight[1, 1] = math.inf


@pytest.mark.parametrize("options", [{"logging_steps": 1}, {"logging_steps": 100}])
def test_a_learning_rate_out_of_this_world_is_an_error(make_trainer: Make, options: dict) -> None:
    trainer = make_trainer(small_bert(), callbacks=[imp()], learning_rate=1e30, max_grad_norm=0, max_steps=6, **options)
    with pytest.raises(PADNetError, match=r"training diverged before step .*learning_rate \(it is 1e\+30\)") as error:
        trainer.train()
    assert "max_grad_norm 1 (it is 0)" in str(error.value)


def test_no_checkpoint_is_saved_of_what_diverged_and_none_is_removed(make_trainer: Make, tmp_path: Path) -> None:
    options = {"max_steps": 6, "save_steps": 2, "save_total_limit": 1, "logging_steps": 100}
    trainer = make_trainer(small_bert(), callbacks=[imp(), Spoil(3)], **options)
    with pytest.raises(PADNetError, match="training diverged before step 4: parameters are not finite"):
        trainer.train()
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["checkpoint-2"]
    saved = AutoModelForSequenceClassification.from_pretrained(tmp_path / "out" / "checkpoint-2")
    assert int(not_finite(saved.parameters())) == 0


def test_a_training_whose_losses_are_all_infinite_is_an_error(make_trainer: Make) -> None:
    trainer = make_trainer(small_bert(), max_steps=3)
    compute_loss = trainer.compute_loss
    trainer.compute_loss = lambda *args, **kwargs: compute_loss(*args, **kwargs) * 0 + math.inf
    with pytest.raises(PADNetError, match="no loss since the last look was finite"):
        trainer.train()


def test_a_single_batch_without_a_loss_is_not(make_trainer: Make) -> None:
    trainer = make_trainer(small_bert(), max_steps=3, logging_steps=1)
    compute_loss, calls = trainer.compute_loss, []

    def without_labels_once(*args: object, **kwargs: object) -> Tensor:
        calls.append(1)
        loss = compute_loss(*args, **kwargs)
        return loss * 0 + math.nan if len(calls) == 2 else loss

    trainer.compute_loss = without_labels_once
    trainer.accelerator.backward = lambda loss, **kwargs: loss.backward() if loss.isfinite() else None
    assert trainer.train().global_step == 3


def test_losses_are_counted_since_the_last_look() -> None:
    losses = Losses()
    for values, none in (([1.0, math.nan], False), ([math.nan], False), ([math.inf, math.nan], True), ([], False)):
        for value in values:
            losses.add(torch.tensor(value))
        assert losses.none_was_finite() == none


def test_parameters_are_counted_that_hold_anything_but_numbers() -> None:
    values = [
        torch.ones(2),
        torch.tensor([1, math.nan]),
        torch.tensor([-math.inf]),
        torch.empty(0),
        torch.full((2,), 3e38),
    ]
    assert int(not_finite([nn.Parameter(value) for value in values])) == 2
    assert int(not_finite([])) == 0
