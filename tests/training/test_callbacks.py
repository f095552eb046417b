import functools
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import Trainer, TrainingArguments

from padnet_hf.errors import PADNetError
from padnet_hf.partition.config import PartitionConfig
from padnet_hf.partition.imp import partition
from padnet_hf.partition.layer import pad_weights
from padnet_hf.training.callbacks import IMPCallback
from tests.partition.toy import ToyModel, toy_batches

CONFIG = PartitionConfig(dynamic_ratio=0.3, num_rounds=2)


class RecordingModel(ToyModel):
    """A toy model that knows whether it is partitioned, as PAD models do."""

    record: dict | None = None

    @property
    def is_partitioned(self) -> bool:
        return self.record is not None

    def record_partition(self, record: dict) -> None:
        self.record = record


@pytest.fixture
def make_trainer(tmp_path: Path) -> functools.partial:
    arguments = TrainingArguments(
        output_dir=str(tmp_path), max_steps=2, use_cpu=True, report_to=[], save_strategy="no", disable_tqdm=True
    )
    return functools.partial(Trainer, args=arguments, train_dataset=_items(), data_collator=_collate)


def _items() -> list[dict[str, Tensor]]:
    batch = toy_batches(3, torch.float32)[2]
    return [{name: tensor[index] for name, tensor in batch.items()} for index in range(4)]


def _collate(items: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.stack([item[name] for item in items]) for name in items[0]}


def _state(model: torch.nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def _callback() -> IMPCallback:
    return IMPCallback(toy_batches(2, torch.float32), CONFIG)


def test_building_the_trainer_does_what_partition_does(make_trainer: functools.partial) -> None:
    model, expected, callback = RecordingModel(dtype=torch.float32), RecordingModel(dtype=torch.float32), _callback()
    make_trainer(model=model, callbacks=[callback])
    report = partition(expected, toy_batches(2, torch.float32), CONFIG, progress=False)
    assert callback.report == report
    assert model.record == report.record
    state = _state(expected)
    assert all(torch.equal(tensor, state[name]) for name, tensor in _state(model).items())


def test_the_partitioned_parameters_are_the_ones_that_train(make_trainer: functools.partial) -> None:
    model = RecordingModel(dtype=torch.float32)
    trainer = make_trainer(model=model, callbacks=[_callback()])
    before = _state(model)
    trainer.train()
    after = _state(model)
    for name in before:
        assert torch.equal(before[name], after[name]) == name.endswith("mask_bits")


def test_a_partitioned_model_is_left_alone(make_trainer: functools.partial) -> None:
    model = RecordingModel(dtype=torch.float32)
    partition(model, None, PartitionConfig(criterion="random"), progress=False)
    before, callback = _state(model), _callback()
    trainer = make_trainer(model=model, callbacks=[callback])
    assert callback.report is None
    assert all(torch.equal(tensor, before[name]) for name, tensor in _state(model).items())
    trainer.train()


def test_a_model_built_anew_at_train_is_refused_before_a_step(make_trainer: functools.partial) -> None:
    models: list[RecordingModel] = []

    def model_init() -> RecordingModel:
        models.append(RecordingModel(dtype=torch.float32))
        return models[-1]

    trainer = make_trainer(model_init=model_init, callbacks=[_callback()])
    with pytest.raises(PADNetError, match=r"with model_init .* Pass the model itself"):
        trainer.train()
    assert trainer.state.global_step == 0
    assert all(weight.is_fully_dynamic for weight in pad_weights(models[-1]).values())


def test_bad_batches_are_an_error_when_the_trainer_is_built(make_trainer: functools.partial) -> None:
    model = RecordingModel(dtype=torch.float32)
    with pytest.raises(PADNetError, match="no calibration batches"):
        make_trainer(model=model, callbacks=[IMPCallback([])])
    assert not model.is_partitioned
    assert all(weight.is_fully_dynamic for weight in pad_weights(model).values())


@pytest.mark.parametrize("disable", [True, False])
def test_a_progress_bar_is_shown_unless_the_trainer_shows_none(
    disable: bool, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    arguments = TrainingArguments(output_dir=str(tmp_path), use_cpu=True, report_to=[], disable_tqdm=disable)
    Trainer(RecordingModel(dtype=torch.float32), arguments, callbacks=[_callback()])
    assert ("partition: " in capfd.readouterr().err) != disable


def test_the_default_is_the_default_configuration() -> None:
    assert IMPCallback([]).config == PartitionConfig()
