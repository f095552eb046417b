"""One step of training, over every family: accumulated as at once, and with the balance loss whoever has the labels."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel, Trainer, TrainingArguments

from padnet_hf import PADTrainer
from padnet_hf.models.known import KNOWN
from tests.models.samples import classifier_of, inputs_of, labels_of, small_dense, small_pad

EXPERTS = [dense for dense in KNOWN if dense not in ("resnet", "mobilenet_v2")]
ROWS = 8


def _rows(model: PreTrainedModel) -> dict[str, Tensor]:
    inputs = inputs_of(model, batch=ROWS)
    return inputs | labels_of(model, inputs)


def _without_statistics(model: PreTrainedModel) -> PreTrainedModel:
    """What a batch norm gives must not depend on what else is in the batch, nor what is dropped on chance."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        if isinstance(module, nn.BatchNorm2d):
            module.track_running_stats = True
            module.train = lambda mode=True, module=module: module
            module.training = False
    return model


def _step(
    trainer_class: type[Trainer],
    model: PreTrainedModel,
    folder: Path,
    batch_size: int,
    compute_loss_func: Callable[..., Tensor] | None = None,
    **options: Any,
) -> dict[str, Tensor]:
    """What one step of plain gradient descent of rate 1, over all rows, takes off every parameter."""
    model = _without_statistics(copy.deepcopy(model))
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    batch = _rows(model)
    args = TrainingArguments(
        folder,
        max_steps=1,
        per_device_train_batch_size=batch_size,
        gradient_accumulation_steps=ROWS // batch_size,
        optim="sgd",
        learning_rate=1.0,
        lr_scheduler_type="constant",
        max_grad_norm=0.0,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        use_cpu=True,
        **options,
    )
    rows = [{name: values[row] for name, values in batch.items()} for row in range(ROWS)]
    trainer_class(model, args, train_dataset=rows, compute_loss_func=compute_loss_func).train()
    return {name: before[name] - parameter.detach() for name, parameter in model.named_parameters()}


def _gradients(model: PreTrainedModel, loss: Callable[[Any, dict[str, Tensor]], Tensor]) -> dict[str, Tensor]:
    """The gradients of a loss of the model's output and the rows."""
    model = _without_statistics(copy.deepcopy(model)).train()
    batch = _rows(model)
    loss(model(**batch), batch).backward()
    return {name: torch.zeros_like(p) if p.grad is None else p.grad for name, p in model.named_parameters()}


def _assert_close(actual: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert actual.keys() == expected.keys()
    for name in actual:
        torch.testing.assert_close(
            actual[name], expected[name], rtol=1e-3, atol=2e-6, msg=lambda m, n=name: f"{n}: {m}"
        )


@pytest.mark.parametrize("dense", KNOWN)
def test_accumulated_steps_of_dense_models_are_the_gradient_of_the_mean(dense: str, tmp_path: Path) -> None:
    model = small_dense(dense, classifier_of(dense))
    step = _step(PADTrainer, model, tmp_path, batch_size=2)
    _assert_close(step, _gradients(model, lambda output, batch: output.loss))


@pytest.mark.parametrize("trainer_class", [Trainer, PADTrainer])
@pytest.mark.parametrize("dense", KNOWN)
def test_accumulated_steps_of_pad_models_are_the_gradient_of_the_mean(
    dense: str, trainer_class: type[Trainer], tmp_path: Path
) -> None:
    coef = {"balance_loss_coef": 0.0} if dense in EXPERTS else {}  # of a part of the batch it is another number
    model = small_pad(dense, classifier_of(dense), **coef)
    step = _step(trainer_class, model, tmp_path, batch_size=2)
    _assert_close(step, _gradients(model, lambda output, batch: output.loss))


def _smoothed(logits: Tensor, labels: Tensor) -> Tensor:
    """transformers' label smoothing: 0.9 of the usual loss, 0.1 of the mean over all classes."""
    logs = -F.log_softmax(logits, dim=-1)
    return (0.9 * logs.gather(1, labels[:, None]) + 0.1 * logs.mean(1, keepdim=True)).mean()


def _summed(outputs: Any, labels: Tensor, num_items_in_batch: Tensor | None = None) -> Tensor:
    """A loss of the user's own, scaled for all rows of a step."""
    return F.cross_entropy(outputs["logits"], labels, reduction="sum") / num_items_in_batch


@pytest.mark.parametrize("coef", [0.0, 5.0])
@pytest.mark.parametrize("own_loss", [False, True])
@pytest.mark.parametrize("dense", EXPERTS)
def test_the_balance_loss_counts_where_the_model_sees_no_labels(
    dense: str, own_loss: bool, coef: float, tmp_path: Path
) -> None:
    model = small_pad(dense, classifier_of(dense), balance_loss_coef=coef)
    options = {"compute_loss_func": _summed} if own_loss else {"label_smoothing_factor": 0.1}
    step = _step(PADTrainer, model, tmp_path, ROWS, **options)

    def expected(output: Any, batch: dict[str, Tensor]) -> Tensor:
        task = output.task_loss if own_loss else _smoothed(output.logits, batch["labels"])
        return task + coef * output.balance_loss

    _assert_close(step, _gradients(model, expected))


@pytest.mark.parametrize("own_loss", [False, True])
def test_accumulated_balance_losses_are_averaged(own_loss: bool, tmp_path: Path) -> None:
    options = {"compute_loss_func": _summed} if own_loss else {"label_smoothing_factor": 0.1}
    model = small_pad("bert", classifier_of("bert"), balance_loss_coef=1e4)  # so large that all else is nothing
    with_labels = _step(PADTrainer, model, tmp_path, 2)
    without = _step(PADTrainer, model, tmp_path, 2, **options)
    name = "bert.encoder.layer.0.intermediate.dense.router.weight"
    assert with_labels[name].abs().max() > 10
    torch.testing.assert_close(without[name], with_labels[name], rtol=1e-2, atol=1e-2)


def test_the_stock_trainer_says_what_it_leaves_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    from transformers.utils import logging

    logging.get_logger("padnet_hf.models.moe_model").warning_once.__func__.cache_clear()
    for trainer_class, coef, said in ((PADTrainer, 1.0, 0), (Trainer, 0.0, 0), (Trainer, 1.0, 1)):
        caplog.clear()
        model = small_pad("bert", classifier_of("bert"), balance_loss_coef=coef)
        _step(trainer_class, model, tmp_path, ROWS, label_smoothing_factor=0.1)
        assert sum("the model has no labels" in message for message in caplog.messages) == said


def test_losses_that_count_items_still_get_their_number(tmp_path: Path) -> None:
    config = LlamaConfig(vocab_size=9, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2)
    args = TrainingArguments(tmp_path, report_to="none", use_cpu=True)
    assert PADTrainer(LlamaForCausalLM(config), args).model_accepts_loss_kwargs
    assert not PADTrainer(small_dense("bert", classifier_of("bert")), args).model_accepts_loss_kwargs


def test_phi_alone_is_without_weight_decay_beside_what_usually_is(tmp_path: Path) -> None:
    model = small_pad("bert", "AutoModel")
    for weight in model.modules():
        if hasattr(weight, "make_room"):
            weight.make_room(8, "element")
    args = TrainingArguments(tmp_path, report_to="none", use_cpu=True)
    stock = Trainer(model, args).get_decay_parameter_names(model)
    ours = PADTrainer(model, args).get_decay_parameter_names(model)
    assert set(stock) - set(ours) == {name for name in stock if name.endswith(".phi")} != set()
