import functools
from pathlib import Path

import pytest
import torch
from datasets import Dataset
from torch import Tensor
from transformers import (
    AutoTokenizer,
    BertConfig,
    DataCollatorWithPadding,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    set_seed,
)

from padnet_hf import PADBertConfig, PADBertForSequenceClassification
from padnet_hf.errors import PADNetError
from padnet_hf.layers.dynamic_conv import PADDynamicConv2d
from padnet_hf.method.config import PartitionConfig
from padnet_hf.method.imp import partition
from padnet_hf.method.layer import pad_weights
from padnet_hf.training.calibration import CalibrationBatches
from padnet_hf.training.callbacks import IMPCallback, TemperatureCallback
from tests.method.toy import ToyModel, toy_batches
from tests.models.samples import classifier_of, inputs_of, labels_of, small_pad

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
    with pytest.raises(PADNetError, match=r"with model_init .* Use padnet_hf.PADTrainer, .* or pass the model itself"):
        trainer.train()
    assert trainer.state.global_step == 0
    assert all(weight.is_fully_dynamic for weight in pad_weights(models[-1]).values())


def test_bad_batches_are_an_error_when_the_trainer_is_built(make_trainer: functools.partial) -> None:
    model = RecordingModel(dtype=torch.float32)
    with pytest.raises(PADNetError, match="no calibration batches"):
        make_trainer(model=model, callbacks=[IMPCallback([])])
    assert not model.is_partitioned
    assert all(weight.is_fully_dynamic for weight in pad_weights(model).values())


def test_columns_that_the_trainer_drops_are_dropped_in_calibration_too(tmp_path: Path, minilm_folder: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(minilm_folder)
    texts = ["a fine film", "no", "yes", "a dull film"] * 2
    with_text = Dataset.from_dict({"text": texts, **tokenizer(texts), "label": [1, 0, 1, 0] * 2})
    config = BertConfig(vocab_size=len(tokenizer), hidden_size=16, num_attention_heads=2, intermediate_size=32)
    collator = DataCollatorWithPadding(tokenizer)
    hashes = set()
    for data in (with_text, with_text.remove_columns("text")):
        set_seed(0)
        model = PADBertForSequenceClassification(PADBertConfig.from_dense(config, num_experts=2))
        arguments = TrainingArguments(tmp_path, use_cpu=True, report_to=[], max_steps=1, save_strategy="no")
        callback = IMPCallback(CalibrationBatches(data, collator, batch_size=4), CONFIG)
        Trainer(model, arguments, collator, data, callbacks=[callback]).train()
        hashes.add(model.config.partition["mask_hash"])
    assert len(hashes) == 1


def test_columns_are_kept_where_the_trainer_keeps_them(tmp_path: Path) -> None:
    arguments = TrainingArguments(tmp_path, use_cpu=True, report_to=[], remove_unused_columns=False)
    rows = [{**item, "text": "fine"} for item in _items()]
    batches = CalibrationBatches(rows, lambda items: {name: [item[name] for item in items] for name in items[0]})
    with pytest.raises(TypeError, match="unexpected keyword argument 'text'"):
        Trainer(RecordingModel(dtype=torch.float32), arguments, callbacks=[IMPCallback(batches, CONFIG)])


@pytest.mark.parametrize("disable", [True, False])
def test_a_progress_bar_is_shown_unless_the_trainer_shows_none(
    disable: bool, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    arguments = TrainingArguments(output_dir=str(tmp_path), use_cpu=True, report_to=[], disable_tqdm=disable)
    Trainer(RecordingModel(dtype=torch.float32), arguments, callbacks=[_callback()])
    assert ("partition: " in capfd.readouterr().err) != disable


@pytest.mark.parametrize(("dense", "scope"), [("llama", "layer"), ("bert", "global")])
def test_without_a_configuration_the_family_says_how(dense: str, scope: str, tmp_path: Path) -> None:
    first, second = (small_pad(dense, classifier_of(dense)) for _ in range(2))
    inputs = inputs_of(first)
    batches = [inputs | labels_of(first, inputs)]
    partition(first, batches, progress=False)
    callback = IMPCallback(batches)
    callback.apply_to(second, TrainingArguments(str(tmp_path), use_cpu=True, disable_tqdm=True))
    asked = PartitionConfig(scope=scope).resolved(copies_differ=True).to_dict()
    for model in (first, second):
        assert asked.items() <= model.config.partition.items()
    callback.apply_to(second, TrainingArguments(str(tmp_path), use_cpu=True))  # as it is asked for: nothing to do


@pytest.mark.parametrize(
    ("fields", "num_epochs", "schedule"),
    [
        ({}, 100, {0: 31, 1: 28, 5: 16, 9.5: 2.5, 10: 1, 11: 1, 100: 1}),  # upstream's ten epochs
        ({}, 4, {0: 31, 0.5: 23.5, 1: 16, 2: 1, 3: 1, 4: 1}),  # half of a short run
        ({}, 20, {5: 16, 10: 1}),
        ({"epochs": 2}, 100, {0: 31, 1: 16, 2: 1, 50: 1}),
        ({"epochs": 8}, 4, {4: 16}),  # a run that ends before
        ({"epochs": 0.5}, 4, {0.25: 16, 0.5: 1}),
        ({"initial": 10, "final": 2, "epochs": 4}, 9, {0: 10, 1: 8, 3: 4, 4: 2, 9: 2}),
        ({"initial": 1, "final": 5, "epochs": 4}, 9, {0: 1, 1: 2, 4: 5, 9: 5}),
    ],
)
def test_the_temperature_falls_in_a_straight_line(
    fields: dict[str, float], num_epochs: float, schedule: dict[float, float]
) -> None:
    callback = TemperatureCallback(**fields)
    found = {epoch: callback.temperature_at(epoch, num_epochs) for epoch in schedule}
    assert found == pytest.approx(schedule)


@pytest.mark.parametrize("field", ["initial", "final"])
@pytest.mark.parametrize("value", [0, -1.0, float("nan"), float("inf")])
def test_a_temperature_out_of_range_is_refused(field: str, value: float) -> None:
    with pytest.raises(PADNetError, match=f"temperature is {value!r}, but must be above 0 and finite"):
        TemperatureCallback(**{field: value})


@pytest.mark.parametrize("epochs", [0, -1, float("nan")])
def test_a_fall_over_no_epochs_is_refused(epochs: float) -> None:
    with pytest.raises(PADNetError, match=f"epochs is {epochs!r}, but must be above 0; None stands for 10 or half"):
        TemperatureCallback(epochs=epochs)


class RecordsTemperature(RecordingModel):
    """A toy model that writes down every temperature it is given."""

    def __init__(self, **fields: object) -> None:
        super().__init__(**fields)
        self.temperatures: list[float] = []

    def set_temperature(self, temperature: float) -> None:
        self.temperatures.append(temperature)


def test_the_model_is_given_the_temperature_of_every_step_and_of_the_end(make_trainer: functools.partial) -> None:
    model = RecordsTemperature(dtype=torch.float32)
    make_trainer(model=model, callbacks=[TemperatureCallback(initial=9, final=1, epochs=4)]).train()
    assert model.temperatures == pytest.approx([9, 7, 5])  # 2 steps, each an epoch of one batch


def test_a_model_without_temperature_is_refused_before_a_step(make_trainer: functools.partial) -> None:
    trainer = make_trainer(model=RecordingModel(dtype=torch.float32), callbacks=[TemperatureCallback()])
    with pytest.raises(PADNetError, match="RecordingModel has no temperature to lower"):
        trainer.train()
    assert trainer.state.global_step == 0


class OwnModel(torch.nn.Module):
    """A user's own network of dynamic convolutions, which knows nothing of partitions or temperatures."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = PADDynamicConv2d(3, 16, 3, padding=1, num_kernels=3)
        self.head = torch.nn.Linear(16, 3)

    def forward(self, images: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
        logits = self.head(self.convolution(images).mean(dim=(2, 3)))
        if labels is None:
            return {"logits": logits}
        return {"loss": torch.nn.functional.cross_entropy(logits, labels), "logits": logits}


@pytest.mark.parametrize("granularity", ["element", "unit"])
def test_a_module_of_ones_own_is_partitioned_cooled_and_trained(granularity: str, tmp_path: Path) -> None:
    set_seed(0)
    rows = [{"images": torch.randn(3, 8, 8), "labels": torch.tensor(index % 3)} for index in range(8)]
    arguments = TrainingArguments(
        tmp_path, max_steps=4, use_cpu=True, report_to=[], save_strategy="no", disable_tqdm=True, logging_steps=1
    )
    imp = IMPCallback([_collate(rows)], PartitionConfig(granularity=granularity))
    seen: list[float] = []

    class Noting(TrainerCallback):
        def on_step_end(self, *args: object, model: OwnModel, **kwargs: object) -> None:
            seen.append(model.convolution.attention.temperature)

    model = OwnModel()
    callbacks = [imp, TemperatureCallback(4.0, 1.0, epochs=4), Noting()]
    trainer = Trainer(model, arguments, data_collator=_collate, train_dataset=rows, callbacks=callbacks)
    assert 0 < model.convolution.weight.num_dynamic < model.convolution.weight.num_candidates(granularity)
    before = _state(model)
    trainer.train()
    assert imp.report.dynamic_ratio == pytest.approx(0.5, abs=0.2 if granularity == "unit" else 0.01)
    assert seen == [4.0, 3.25, 2.5, 1.75]
    assert model.convolution.attention.temperature == 1.0
    assert all(not torch.equal(before[name], p) for name, p in model.named_parameters())
