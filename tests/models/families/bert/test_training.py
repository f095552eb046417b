"""PAD-BERT under the stock Trainer: partition before step 0, compact optimizer, checkpoints, resume."""

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from datasets import Dataset
from torch import Tensor
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    Trainer,
    TrainingArguments,
    set_seed,
)

from padnet_hf import (
    CalibrationBatches,
    IMPCallback,
    PADBertConfig,
    PADBertForSequenceClassification,
    PADNetError,
    PartitionConfig,
)
from padnet_hf.transformers_seams import CHECKPOINTING

TINY = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64, "num_experts": 4}
GOOD, BAD = ("fine", "great", "lovely", "warm"), ("dull", "poor", "weak", "cold")


@pytest.fixture(scope="module")
def dataset(minilm_folder: str) -> Dataset:
    """Sixty-four short sentences whose label is told by one word."""
    tokenizer = AutoTokenizer.from_pretrained(minilm_folder)
    texts = [f"this is a {(GOOD if i % 2 else BAD)[i // 2 % 4]} film number {i}" for i in range(64)]
    return Dataset.from_dict({**tokenizer(texts), "label": [i % 2 for i in range(64)]})


@pytest.fixture
def make_trainer(dataset: Dataset, minilm_folder: str, tmp_path: Path) -> Callable[..., Trainer]:
    collator = DataCollatorWithPadding(AutoTokenizer.from_pretrained(minilm_folder))

    def make(
        model: PADBertForSequenceClassification | None = None,
        config: PartitionConfig | None = None,
        **arguments: object,
    ) -> Trainer:
        set_seed(0)
        if model is None and "model_init" not in arguments:
            model = PADBertForSequenceClassification(PADBertConfig(**TINY))
        model_init = arguments.pop("model_init", None)
        callback = IMPCallback(CalibrationBatches(dataset, collator, batch_size=8, num_batches=2), config)
        defaults = {
            "output_dir": str(tmp_path / "run"),
            "use_cpu": True,
            "report_to": "none",
            "disable_tqdm": True,
            "max_steps": 4,
            "per_device_train_batch_size": 8,
            "learning_rate": 1e-3,
            "save_steps": 2,
            "logging_steps": 1,
        }
        return Trainer(
            model=model,
            model_init=model_init,
            args=TrainingArguments(**(defaults | arguments)),
            train_dataset=dataset,
            eval_dataset=dataset,
            data_collator=collator,
            callbacks=[callback],
        )

    return make


def imp(trainer: Trainer) -> IMPCallback:
    return next(callback for callback in trainer.callback_handler.callbacks if isinstance(callback, IMPCallback))


@pytest.mark.parametrize("granularity", ["element", "unit"])
def test_the_optimizer_holds_the_compact_parameters_and_they_train(
    make_trainer: Callable[..., Trainer], granularity: str
) -> None:
    trainer = make_trainer(config=PartitionConfig(granularity=granularity))
    assert trainer.model.is_partitioned
    assert imp(trainer).report.dynamic_ratio == pytest.approx(0.5, abs=0.02)
    before = {name: p.detach().clone() for name, p in trainer.model.named_parameters()}
    trainer.train()
    state = trainer.optimizer.state
    for name, parameter in trainer.model.named_parameters():
        assert state[parameter]["exp_avg"].shape == parameter.shape, name
        assert not torch.equal(parameter, before[name]), f"{name} did not train"


def test_a_real_checkpoint_learns(make_trainer: Callable[..., Trainer], minilm_folder: str) -> None:
    set_seed(0)
    model = PADBertForSequenceClassification.from_dense(minilm_folder, num_experts=2)
    trainer = make_trainer(model, max_steps=24, learning_rate=2e-4, save_strategy="no")
    trainer.train()
    predictions = trainer.predict(trainer.eval_dataset)
    assert predictions.predictions.shape == (64, 2)
    assert (predictions.predictions.argmax(-1) == predictions.label_ids).mean() > 0.9


def test_gradient_accumulation_gives_the_gradient_of_the_whole_batch(make_trainer: Callable[..., Trainer]) -> None:
    def first_gradient(**arguments: object) -> dict[str, Tensor]:
        config = PADBertConfig(
            **TINY, hidden_dropout_prob=0, attention_probs_dropout_prob=0, router_noise=False, balance_loss_coef=0
        )
        set_seed(0)
        trainer = make_trainer(
            PADBertForSequenceClassification(config),
            max_steps=1,
            max_grad_norm=0,
            optim="sgd",
            learning_rate=1.0,
            lr_scheduler_type="constant",
            save_strategy="no",
            **arguments,
        )
        before = {name: p.detach().clone() for name, p in trainer.model.named_parameters()}
        trainer.train()
        return {name: before[name] - p.detach() for name, p in trainer.model.named_parameters()}

    whole = first_gradient(per_device_train_batch_size=16)
    accumulated = first_gradient(per_device_train_batch_size=4, gradient_accumulation_steps=4)
    for name, gradient in whole.items():
        torch.testing.assert_close(accumulated[name], gradient, rtol=1e-3, atol=1e-6, msg=name)


def test_interrupted_and_resumed_training_equals_uninterrupted(make_trainer: Callable[..., Trainer]) -> None:
    whole = make_trainer()
    whole.train()
    checkpoint = Path(whole.args.output_dir) / "checkpoint-2"
    # Loaded tensors lie where the file put them, and matrix kernels round by alignment: move them to fresh memory.
    resumed = make_trainer(copy.deepcopy(AutoModelForSequenceClassification.from_pretrained(checkpoint)))
    assert imp(resumed).report is None  # partitioned already: left alone
    resumed.train(resume_from_checkpoint=str(checkpoint))
    for (name, expected), actual in zip(whole.model.named_parameters(), resumed.model.parameters(), strict=True):
        torch.testing.assert_close(
            actual, expected, rtol=1e-5, atol=1e-6, msg=lambda text, name=name: f"{name}: {text}"
        )


def test_the_best_checkpoint_is_loaded_at_the_end(make_trainer: Callable[..., Trainer]) -> None:
    trainer = make_trainer(eval_strategy="steps", eval_steps=2, load_best_model_at_end=True, learning_rate=3e-2)
    trainer.train()
    best = AutoModelForSequenceClassification.from_pretrained(trainer.state.best_model_checkpoint)
    for (name, expected), actual in zip(best.named_parameters(), trainer.model.parameters(), strict=True):
        assert torch.equal(expected, actual), name


def test_model_init_is_refused_before_the_first_step(make_trainer: Callable[..., Trainer]) -> None:
    trainer = make_trainer(model_init=lambda: PADBertForSequenceClassification(PADBertConfig(**TINY)))
    with pytest.raises(PADNetError, match="model_init"):
        trainer.train()
    assert trainer.state.global_step == 0


def test_activation_checkpointing_trains_too(make_trainer: Callable[..., Trainer]) -> None:
    trainer = make_trainer(**{CHECKPOINTING: True}, save_strategy="no")
    trainer.train()
    assert trainer.state.global_step == 4


def test_bf16_training_and_evaluation_run(make_trainer: Callable[..., Trainer]) -> None:
    trainer = make_trainer(bf16=True, save_strategy="no")
    trainer.train()
    metrics = trainer.evaluate()
    assert metrics["eval_loss"] == pytest.approx(0.69, abs=0.3)
