"""PAD-ResNet under the stock Trainer: partition before step 0, falling temperature, checkpoints, resume."""

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from datasets import Dataset
from transformers import (
    AutoModelForImageClassification,
    ResNetConfig,
    ResNetForImageClassification,
    Trainer,
    TrainingArguments,
    set_seed,
)

from padnet_hf import (
    CalibrationBatches,
    IMPCallback,
    PADNetError,
    PADResNetConfig,
    PADResNetForImageClassification,
    PartitionConfig,
    TemperatureCallback,
)
from padnet_hf.layers.kernel_attention import KernelAttention
from padnet_hf.method.layer import pad_weights

TINY = {"layer_type": "basic", "embedding_size": 8, "hidden_sizes": [16, 24], "depths": [1, 1], "num_labels": 2}
SMALL_STEM = {"stem_kernel_size": 3, "stem_stride": 1, "stem_pool": False, "reduction": 4}


class Images(torch.utils.data.Dataset):
    """Thirty-two small images whose label is told by which half is brighter."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        self.pixels = torch.randn(32, 3, 12, 12, generator=generator)
        self.labels = torch.arange(32) % 2
        self.pixels[self.labels == 1, :, :6] += 1.5

    def __len__(self) -> int:
        return 32

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return {"pixel_values": self.pixels[index], "labels": self.labels[index]}


def collate(items: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    return {name: torch.stack([item[name] for item in items]) for name in items[0]}


@pytest.fixture
def make_trainer(tmp_path: Path) -> Callable[..., Trainer]:
    def make(
        model: torch.nn.Module | None = None,
        config: PartitionConfig | None = None,
        temperature: TemperatureCallback | None = None,
        **arguments: object,
    ) -> Trainer:
        set_seed(0)
        if model is None:
            model = PADResNetForImageClassification(PADResNetConfig(**TINY, **SMALL_STEM))
        batches = CalibrationBatches(Images(), collate, batch_size=8, num_batches=2)
        callbacks = [temperature or TemperatureCallback()]
        if isinstance(model, PADResNetForImageClassification):
            callbacks.append(IMPCallback(batches, config or PartitionConfig(dynamic_ratio=0.3)))
        defaults = {
            "output_dir": str(tmp_path / "run"),
            "use_cpu": True,
            "report_to": "none",
            "disable_tqdm": True,
            "num_train_epochs": 2,
            "per_device_train_batch_size": 8,
            "learning_rate": 1e-2,
            "save_strategy": "steps",
            "save_steps": 3,
            "logging_steps": 1,
        }
        return Trainer(
            model=model,
            args=TrainingArguments(**(defaults | arguments)),
            train_dataset=Images(),
            eval_dataset=Images(),
            data_collator=collate,
            callbacks=callbacks,
        )

    return make


def temperatures_of(model: torch.nn.Module) -> set[float]:
    return {module.temperature for module in model.modules() if isinstance(module, KernelAttention)}


@pytest.mark.parametrize("granularity", ["element", "unit"])
def test_the_optimizer_holds_the_compact_parameters_and_they_train(
    make_trainer: Callable[..., Trainer], granularity: str
) -> None:
    trainer = make_trainer(config=PartitionConfig(dynamic_ratio=0.3, granularity=granularity), save_strategy="no")
    assert trainer.model.is_partitioned
    assert any(weight.phi is not None for weight in pad_weights(trainer.model).values())
    before = {name: p.detach().clone() for name, p in trainer.model.named_parameters()}
    trainer.train()
    state = trainer.optimizer.state
    for name, parameter in trainer.model.named_parameters():
        assert state[parameter]["exp_avg"].shape == parameter.shape, name
        assert not torch.equal(parameter, before[name]), f"{name} did not train"


def test_it_learns(make_trainer: Callable[..., Trainer]) -> None:
    trainer = make_trainer(num_train_epochs=6, save_strategy="no")
    trainer.train()
    predictions = trainer.predict(trainer.eval_dataset)
    assert predictions.predictions.shape == (32, 2)
    assert (predictions.predictions.argmax(-1) == predictions.label_ids).mean() > 0.9


def test_the_temperature_falls_from_31_to_1_over_half_of_a_short_run(make_trainer: Callable[..., Trainer]) -> None:
    trainer = make_trainer(save_strategy="no")  # 2 epochs of 4 steps: it falls in the first epoch
    seen: list[set[float]] = []
    trainer.model.register_forward_pre_hook(lambda model, _: seen.append(temperatures_of(model)))
    trainer.train()
    expected = [31, 31 - 30 / 4, 31 - 2 * 30 / 4, 31 - 3 * 30 / 4, 1, 1, 1, 1]
    assert [pytest.approx(value) for value in expected] == [next(iter(values)) for values in seen]
    assert all(len(values) == 1 for values in seen)
    assert trainer.model.config.temperature == 1
    assert temperatures_of(trainer.model) == {1.0}


def test_checkpoints_save_the_temperature_and_evaluation_uses_it(make_trainer: Callable[..., Trainer]) -> None:
    trainer = make_trainer(eval_strategy="steps", eval_steps=3)
    trainer.train()
    # Loaded tensors lie where the file put them, and matrix kernels round by alignment: move them to fresh memory.
    checkpoint = Path(trainer.args.output_dir) / "checkpoint-3"
    model = copy.deepcopy(AutoModelForImageClassification.from_pretrained(checkpoint))
    assert model.config.temperature == pytest.approx(31 - 2 * 30 / 4)  # that of the third step
    assert temperatures_of(model) == {model.config.temperature}
    at_three = next(log["eval_loss"] for log in trainer.state.log_history if log["step"] == 3 and "eval_loss" in log)
    assert make_trainer(model).evaluate()["eval_loss"] == pytest.approx(at_three, rel=1e-6)
    model.set_temperature(0.1)
    assert make_trainer(model).evaluate()["eval_loss"] != pytest.approx(at_three, rel=1e-6)


@pytest.mark.parametrize("granularity", ["element", "unit"])
def test_interrupted_and_resumed_training_equals_uninterrupted(
    make_trainer: Callable[..., Trainer], granularity: str
) -> None:
    config = PartitionConfig(dynamic_ratio=0.3, granularity=granularity)
    whole = make_trainer(config=config)
    whole.train()
    checkpoint = Path(whole.args.output_dir) / "checkpoint-3"  # in the middle of an epoch, and of the fall
    model = copy.deepcopy(AutoModelForImageClassification.from_pretrained(checkpoint))
    resumed = make_trainer(model, config=config)
    seen: list[set[float]] = []
    resumed.model.register_forward_pre_hook(lambda model, _: seen.append(temperatures_of(model)))
    resumed.train(resume_from_checkpoint=str(checkpoint))
    assert [value for values in seen for value in values] == pytest.approx([31 - 3 * 30 / 4, 1, 1, 1, 1])
    losses = [
        [log["loss"] for log in trainer.state.log_history if log["step"] > 3 and "loss" in log]
        for trainer in (whole, resumed)
    ]
    assert losses[1] == pytest.approx(losses[0], rel=1e-6)
    assert len(losses[0]) == 5
    expected = whole.model.state_dict()
    for name, actual in resumed.model.state_dict().items():
        torch.testing.assert_close(actual, expected[name], rtol=1e-5, atol=1e-6, msg=name)
    assert resumed.model.config.temperature == whole.model.config.temperature == 1


def test_the_schedule_counts_steps_where_max_steps_is_given(make_trainer: Callable[..., Trainer]) -> None:
    callback = TemperatureCallback(initial=9, final=1, epochs=1)
    trainer = make_trainer(temperature=callback, max_steps=2, save_strategy="no")
    trainer.train()  # half of an epoch
    assert trainer.model.config.temperature == pytest.approx(5)


def test_half_of_a_run_is_half_of_its_steps_where_max_steps_is_given(make_trainer: Callable[..., Trainer]) -> None:
    trainer = make_trainer(max_steps=8, num_train_epochs=30, save_strategy="no")
    seen: list[float] = []
    trainer.model.register_forward_pre_hook(lambda model, _: seen.append(model.config.temperature))
    trainer.train()
    assert seen == pytest.approx([31, 23.5, 16, 8.5, 1, 1, 1, 1])


def test_accumulated_batches_count_as_one_step(make_trainer: Callable[..., Trainer]) -> None:
    trainer = make_trainer(save_strategy="no", per_device_train_batch_size=4, gradient_accumulation_steps=2)
    seen: list[float] = []
    trainer.model.register_forward_pre_hook(lambda model, _: seen.append(model.config.temperature))
    trainer.train()
    assert seen == pytest.approx([31, 31, 23.5, 23.5, 16, 16, 8.5, 8.5, *[1] * 8])


def test_a_model_without_temperature_is_refused_before_a_step(make_trainer: Callable[..., Trainer]) -> None:
    trainer = make_trainer(ResNetForImageClassification(ResNetConfig(**TINY)))
    with pytest.raises(PADNetError, match=r"ResNetForImageClassification has no temperature to lower.*leave it out"):
        trainer.train()
    assert trainer.state.global_step == 0


def test_bf16_training_and_evaluation_run(make_trainer: Callable[..., Trainer]) -> None:
    trainer = make_trainer(bf16=True, save_strategy="no")
    trainer.train()
    assert trainer.evaluate()["eval_loss"] < 1.5


def test_a_dataset_of_python_lists_trains_too(make_trainer: Callable[..., Trainer]) -> None:
    trainer = make_trainer(save_strategy="no", num_train_epochs=1)
    images = Images()
    rows = {"pixel_values": images.pixels[:8].tolist(), "labels": images.labels[:8].tolist()}
    trainer.train_dataset = Dataset.from_dict(rows).with_format("torch")
    trainer.train()
    assert trainer.state.global_step == 1
