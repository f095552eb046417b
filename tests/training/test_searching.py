"""Trials of a search over hyperparameters: every model that model_init builds is partitioned."""

import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import Trainer, trainer
from transformers.trainer_utils import BestRun, HPSearchBackend

from padnet_hf import PADBertForSequenceClassification, PADNetError, partition
from padnet_hf.method.layer import pad_weights
from tests.training.conftest import imp, small_bert

Make = Callable[..., Trainer]
RATES = (1e-3, 1e-2)
IN_ORDER = {"train_sampling_strategy": "sequential"}


class BaseTrial:
    """As optuna's: one trial, with its number and what was chosen for it."""

    def __init__(self, number: int) -> None:
        self.number, self.params = number, {"learning_rate": RATES[number]}


class Backend:
    """In the place of optuna, which is not installed: a trial for each learning rate, in the Trainer's own calls."""

    def ensure_available(self) -> None:
        """It is."""

    def run(self, searching: Trainer, n_trials: int, direction: str, **kwargs: Any) -> BestRun:
        found = {}
        for number in range(n_trials):
            searching.train(trial=BaseTrial(number))
            found[number] = searching.evaluate()["eval_loss"]
        best = min(found, key=found.get)
        return BestRun(str(best), found[best], BaseTrial(best).params)


@pytest.fixture
def search(monkeypatch: pytest.MonkeyPatch) -> Callable[[Trainer], BestRun]:
    """hyperparameter_search over two learning rates."""
    optuna = types.SimpleNamespace(trial=types.SimpleNamespace(BaseTrial=BaseTrial))
    monkeypatch.setitem(sys.modules, "optuna", optuna)
    monkeypatch.setattr("transformers.integrations.integration_utils.is_optuna_available", lambda: True)
    monkeypatch.setitem(trainer.ALL_HYPERPARAMETER_SEARCH_BACKENDS, HPSearchBackend.OPTUNA, Backend)
    return lambda searching: searching.hyperparameter_search(lambda trial: trial.params, n_trials=2, backend="optuna")


def straight(make_trainer: Make, rate: float) -> dict[str, torch.Tensor]:
    """The weights of an ordinary run with this learning rate."""
    trainer = make_trainer(small_bert(), callbacks=[imp()], learning_rate=rate, **IN_ORDER)
    trainer.train()
    return trainer.model.state_dict()


def test_every_trial_trains_a_partitioned_model_of_its_own(
    make_trainer: Make, search: Callable, tmp_path: Path
) -> None:
    built: list[PADBertForSequenceClassification] = []

    def model_init() -> PADBertForSequenceClassification:
        built.append(small_bert())
        return built[-1]

    searching = make_trainer(model_init=model_init, callbacks=[imp()], **IN_ORDER)
    best = search(searching)
    assert best.hyperparameters["learning_rate"] in RATES
    for number, model in enumerate(built[1:]):
        saved = PADBertForSequenceClassification.from_pretrained(tmp_path / "out" / f"run-{number}" / "checkpoint-2")
        assert saved.config.partition == model.config.partition
    assert len(built) == 3  # one when the Trainer is built
    assert [model.is_partitioned for model in built] == [True] * 3
    assert len({model.config.partition["mask_hash"] for model in built}) == 1
    for model, rate in zip(built[1:], RATES, strict=True):
        expected = straight(make_trainer, rate)
        assert all(torch.equal(tensor, expected[name]) for name, tensor in model.state_dict().items())


def test_with_the_stock_trainer_model_init_partitions(make_trainer: Make, search: Callable) -> None:
    built: list[PADBertForSequenceClassification] = []

    def model_init(trial: dict | None) -> PADBertForSequenceClassification:
        model = small_bert()
        partition(model, imp().batches, imp().config, progress=False)
        built.append(model)
        return model

    search(make_trainer(model_init=model_init, stock=True, **IN_ORDER))
    for model, rate in zip(built[1:], RATES, strict=True):
        expected = straight(make_trainer, rate)
        assert all(torch.equal(tensor, expected[name]) for name, tensor in model.state_dict().items())


def test_the_stock_trainer_with_model_init_and_the_callback_is_refused_with_both_ways(make_trainer: Make) -> None:
    searching = make_trainer(model_init=small_bert, stock=True, callbacks=[imp()])
    with pytest.raises(PADNetError, match=r"Use padnet_hf\.PADTrainer.*or call partition\(.*\) inside model_init"):
        searching.train()
    assert all(weight.is_fully_dynamic for weight in pad_weights(searching.model).values())
