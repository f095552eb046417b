"""TRL's SFTTrainer on PAD language models: with PADTrainer before it, a step is that of our Trainer."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from peft import AutoPeftModelForCausalLM
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast
from trl import SFTConfig, SFTTrainer
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

from padnet_hf import CalibrationBatches, IMPCallback, PADTrainer, PartitionConfig, lora_config, partition
from padnet_hf.models.pad_model import PADModelMixin
from padnet_hf.transformers_seams import CHECKPOINTING
from tests.examples.language_modeling.conftest import CHAT, LINES, TEMPLATE, new_tokenizer
from tests.models.samples import HEADS, UPCYCLED, set_apart, siblings_later, small_pad

CAUSAL = "AutoModelForCausalLM"
FAMILIES = [dense for dense, auto_class in HEADS if auto_class == CAUSAL and dense in UPCYCLED]
ROWS = 8


class PADSFTTrainer(PADTrainer, SFTTrainer):
    """As the document says to write it."""


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    """With an end of text that pads as well, and a template of chats."""
    made = new_tokenizer()
    made.chat_template = TEMPLATE
    return made


def tokens_of(tokenizer: PreTrainedTokenizerFast) -> list[dict[str, list[int]]]:
    """Rows of different lengths, as SFTTrainer makes them of LINES."""
    texts = [line * (1 + number % 3) for number, line in enumerate(LINES[:ROWS])]
    return [{"input_ids": tokenizer(text)["input_ids"] + [tokenizer.eos_token_id]} for text in texts]


def partitioned(dense: str, tokenizer: PreTrainedTokenizerFast, **fields: Any) -> PADModelMixin:
    """By IMP on these rows; copies are apart, as after training."""
    size = {"vocab_size": len(tokenizer), "max_position_embeddings": 256, "eos_token_id": 0, "pad_token_id": 0}
    model = small_pad(dense, CAUSAL, **size, bos_token_id=None, **fields)
    partition(model, batches_of(tokenizer), unit_config(), progress=False)
    return set_apart(model)


def unit_config() -> PartitionConfig:
    return PartitionConfig(dynamic_ratio=0.5, num_rounds=1, granularity="unit", scope="layer")


def batches_of(tokenizer: PreTrainedTokenizerFast) -> CalibrationBatches:
    return CalibrationBatches(tokens_of(tokenizer), DataCollatorForLanguageModeling(pad_token_id=0), batch_size=4)


@pytest.fixture
def make(tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> Callable[..., SFTTrainer]:
    """An SFTTrainer; names beside `rows`, `trainer_class` and those of the Trainer are for SFTConfig."""

    def build(model: Any, rows: Any, trainer_class: Any = PADSFTTrainer, **options: Any) -> SFTTrainer:
        given = {name: options.pop(name) for name in ("peft_config", "callbacks", "eval_dataset") if name in options}
        defaults = {"output_dir": str(tmp_path / "out"), "use_cpu": True, "report_to": "none", "disable_tqdm": True}
        defaults |= {"bf16": False, CHECKPOINTING: False, "max_length": 64, "save_strategy": "no"}
        args = SFTConfig(**defaults | options)
        return trainer_class(model, args, train_dataset=rows, processing_class=copy.deepcopy(tokenizer), **given)

    return build


def step_of(make: Callable[..., SFTTrainer], model: PADModelMixin, batch_size: int, **fields: Any) -> dict[str, Tensor]:
    """What one step of plain gradient descent of rate 1 over all rows takes off every parameter."""
    model = copy.deepcopy(model)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    options = {"max_steps": 1, "optim": "sgd", "learning_rate": 1.0, "lr_scheduler_type": "constant"}
    options |= {"per_device_train_batch_size": batch_size, "gradient_accumulation_steps": ROWS // batch_size}
    options |= {"max_grad_norm": 0.0, "train_sampling_strategy": "sequential"}
    make(model, Dataset.from_list(fields.pop("rows")), **options | fields).train()
    return {name: before[name] - parameter.detach() for name, parameter in model.named_parameters()}


def gradients_of(model: PADModelMixin, rows: list[dict[str, list[int]]], batch_size: int, coef: float) -> dict:
    """The gradient of the mean over all next tokens, and of the balance losses, each weighted by its batch's tokens."""
    model = copy.deepcopy(model).train()
    collate = DataCollatorForLanguageModeling(pad_token_id=0)
    total = sum(len(row["input_ids"]) - 1 for row in rows)
    for start in range(0, ROWS, batch_size):
        part = rows[start : start + batch_size]
        output = model(**collate(part))
        share = sum(len(row["input_ids"]) - 1 for row in part) / total
        (share * (output.task_loss + coef * output.balance_loss)).backward()
    return {name: torch.zeros_like(p) if p.grad is None else p.grad for name, p in model.named_parameters()}


@pytest.mark.parametrize("batch_size", [8, 4, 2])
@pytest.mark.parametrize("coef", [0.0, 5.0])
@pytest.mark.parametrize("dense", FAMILIES)
def test_a_step_is_the_gradient_over_all_tokens_and_of_the_balance_losses(
    dense: str, coef: float, batch_size: int, make: Callable[..., SFTTrainer], tokenizer: PreTrainedTokenizerFast
) -> None:
    model = partitioned(dense, tokenizer, balance_loss_coef=coef)
    rows = tokens_of(tokenizer)
    expected = gradients_of(model, rows, batch_size, coef)
    found = step_of(make, model, batch_size, rows=rows)
    assert found.keys() == expected.keys()
    for name in found:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-3, atol=5e-6, msg=lambda m, n=name: f"{n}: {m}")
    if not coef:  # so it is all the same how the rows are batched
        whole = gradients_of(model, rows, ROWS, coef)
        torch.testing.assert_close(found, whole, rtol=1e-3, atol=5e-6)


def losses_of(trainer: SFTTrainer) -> list[float]:
    """The task's loss and the balance loss of every step, as logged."""
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


LEARNING = {"max_steps": 12, "learning_rate": 1e-2, "logging_steps": 1, CHECKPOINTING: True}
TEXTS = Dataset.from_dict({"text": [line * (1 + number % 3) for number, line in enumerate(LINES[:ROWS])]})

ROWS_OF = {
    "text": TEXTS,
    "messages": Dataset.from_dict({"messages": CHAT[:ROWS]}),
    "prompt": Dataset.from_list([{"prompt": line[:9], "completion": line[9:]} for line in LINES[:ROWS]]),
}


@pytest.mark.parametrize("coef", [0.0, 1e-2])
def test_two_batches_of_two_learn_as_one_of_four(
    coef: float, make: Callable[..., SFTTrainer], tokenizer: PreTrainedTokenizerFast
) -> None:
    curves = []
    for size in (4, 2, 1):
        model = partitioned("llama", tokenizer, balance_loss_coef=coef)
        batches = {"per_device_train_batch_size": size, "gradient_accumulation_steps": 4 // size}
        trainer = make(model, TEXTS, **LEARNING, **batches)
        trainer.train()
        curves.append(losses_of(trainer))
    assert len(curves[0]) == LEARNING["max_steps"]
    assert curves[0][-1] < 0.8 * curves[0][0]
    for curve in curves[1:]:  # balance losses of parts of a batch are not those of the whole
        assert curve == pytest.approx(curves[0], rel=0.1 if coef else 1e-3)


@pytest.mark.parametrize("dense", siblings_later(FAMILIES))
@pytest.mark.parametrize("column", ["text", "messages", "prompt"])
def test_texts_and_chats_are_learned_and_what_was_learned_is_saved(
    column: str, dense: str, make: Callable[..., SFTTrainer], tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    rows = ROWS_OF[column]
    model = partitioned(dense, tokenizer)
    trainer = make(model, rows, eval_dataset=rows, save_strategy="steps", save_steps=6, **LEARNING)
    first = trainer.evaluate()["eval_loss"]
    trainer.train()
    learned = trainer.evaluate()["eval_loss"]
    assert learned < 0.8 * first
    ids = trainer.train_dataset[0]["input_ids"]
    texts = {"text": LINES[0], "prompt": LINES[0], "messages": tokenizer.apply_chat_template(CHAT[0], tokenize=False)}
    assert tokenizer.decode(ids).removesuffix("<end>") == texts[column]
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "out" / "checkpoint-12").eval()
    assert loaded.is_partitioned
    for name, values in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], values), name
    again = make(partitioned(dense, tokenizer), rows, eval_dataset=rows, save_strategy="no", **LEARNING)
    again.train(resume_from_checkpoint=str(tmp_path / "out" / "checkpoint-6"))
    assert losses_of(again) == losses_of(trainer)
    assert again.evaluate()["eval_loss"] == learned


def test_the_loss_of_an_evaluation_is_the_task_alone(
    make: Callable[..., SFTTrainer], tokenizer: PreTrainedTokenizerFast
) -> None:
    model = partitioned("llama", tokenizer, balance_loss_coef=5.0)
    found = make(model, TEXTS, eval_dataset=TEXTS, per_device_eval_batch_size=ROWS).evaluate()["eval_loss"]
    with torch.no_grad():
        expected = model.eval()(**DataCollatorForLanguageModeling(pad_token_id=0)(tokens_of(tokenizer))).loss
    assert found == pytest.approx(expected.item(), rel=1e-5)


def test_a_callback_partitions_before_the_first_step(
    make: Callable[..., SFTTrainer], tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    size = {"vocab_size": len(tokenizer), "max_position_embeddings": 256, "eos_token_id": 0, "pad_token_id": 0}
    model = small_pad("llama", CAUSAL, **size, bos_token_id=None)
    callback = IMPCallback(batches_of(tokenizer), unit_config())
    trainer = make(model, TEXTS, callbacks=[callback], **LEARNING)
    assert model.is_partitioned
    assert callback.report.dynamic_ratio == pytest.approx(0.5, abs=0.2)
    trainer.train()
    assert losses_of(trainer)[-1] < 0.8 * losses_of(trainer)[0]
    trainer.save_model(tmp_path / "model")
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "model").config.partition == model.config.partition


@pytest.mark.parametrize("trainer_class", [SFTTrainer, PADSFTTrainer])
def test_an_adapter_is_trained_and_saved_alone(
    trainer_class: type[SFTTrainer], make: Callable[..., SFTTrainer], tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    partitioned("llama", tokenizer).save_pretrained(tmp_path / "base")
    base = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    before = {name: parameter.clone() for name, parameter in base.named_parameters()}
    trainer = make(base, TEXTS, trainer_class, peft_config=lora_config(base, rank=4), **LEARNING)
    trainer.train()
    assert losses_of(trainer)[-1] < losses_of(trainer)[0]
    trainer.save_model(tmp_path / "adapter")
    loaded = AutoPeftModelForCausalLM.from_pretrained(tmp_path / "adapter").eval()
    for name, parameter in loaded.get_base_model().named_parameters():
        stored = name.replace(".base_layer", "").replace(".original_module", "")
        assert "lora_" in name or "modules_to_save" in name or torch.equal(parameter, before[stored])
    ids = torch.tensor([tokens_of(tokenizer)[0]["input_ids"]])
    with torch.no_grad():
        assert torch.equal(loaded(ids).logits, trainer.model.eval()(ids).logits)


def test_an_adapters_step_has_the_balance_loss_of_routers(
    make: Callable[..., SFTTrainer], tokenizer: PreTrainedTokenizerFast
) -> None:
    router = "model.layers.0.mlp.router.weight"
    rows, coef = tokens_of(tokenizer), 5.0
    model = partitioned("llama", tokenizer, balance_loss_coef=coef)
    expected = gradients_of(model, rows, 2, coef)[router]
    trained = copy.deepcopy(model)
    options = {"max_steps": 1, "optim": "sgd", "learning_rate": 1.0, "lr_scheduler_type": "constant"}
    options |= {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 4, "max_grad_norm": 0.0}
    options |= {"train_sampling_strategy": "sequential", "peft_config": lora_config(trained, rank=4)}
    trainer = make(trained, Dataset.from_list(rows), **options)
    trainer.train()
    kept = trainer.model.get_base_model().get_submodule("model.layers.0.mlp.router").modules_to_save["default"].weight
    found = model.get_parameter(router) - kept
    torch.testing.assert_close(found.detach(), expected, rtol=1e-3, atol=5e-6)


def test_alone_it_says_that_it_leaves_the_balance_loss_out(
    make: Callable[..., SFTTrainer], tokenizer: PreTrainedTokenizerFast, caplog: pytest.LogCaptureFixture
) -> None:
    from transformers.utils import logging

    logging.get_logger("padnet_hf.models.moe_model").warning_once.__func__.cache_clear()
    for trainer_class, said in ((PADSFTTrainer, 0), (SFTTrainer, 1)):
        caplog.clear()
        make(partitioned("llama", tokenizer), TEXTS, trainer_class, max_steps=1).train()
        assert sum("TRL's do not" in message for message in caplog.messages) == said
