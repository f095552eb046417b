"""One step of training, over every family: accumulated as at once, and with the balance loss whoever has the labels."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel, Trainer, TrainingArguments

from padnet_hf import PADTrainer
from padnet_hf.models.known import KNOWN
from tests.models.samples import HEADS, UPCYCLED, classifier_of, inputs_of, labels_of, pad_class, small_dense, small_pad

CAUSAL = "AutoModelForCausalLM"
CAUSAL_FAMILIES = [dense for dense, auto_class in HEADS if auto_class == CAUSAL and dense in UPCYCLED]
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
    coef = {"balance_loss_coef": 0.0} if dense in UPCYCLED else {}  # of a part of the batch it is another number
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
@pytest.mark.parametrize("dense", UPCYCLED)
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


@pytest.mark.parametrize(("dense", "auto_class"), HEADS, ids=[pad_class(*pair).__name__ for pair in HEADS])
def test_a_model_says_whether_its_loss_is_divided_by_the_number_of_items(dense: str, auto_class: str) -> None:
    """Losses over tokens are, if they take the number. Those of classifiers may be, but not for regression."""
    model = small_pad(dense, auto_class)
    if auto_class not in (CAUSAL, "AutoModelForMaskedLM"):
        assert not model.accepts_loss_kwargs
        return
    batch = _rows(model)
    if model.accepts_loss_kwargs:
        assert model(**batch, num_items_in_batch=1000).loss < model(**batch).loss / 10
    assert model.accepts_loss_kwargs == (auto_class == CAUSAL or dense == "modernbert")


def test_trainers_count_items_for_losses_that_are_divided_by_them(tmp_path: Path) -> None:
    args = TrainingArguments(tmp_path, report_to="none", use_cpu=True)
    for trainer_class in (Trainer, PADTrainer):
        assert trainer_class(small_pad("llama", CAUSAL), args).model_accepts_loss_kwargs
        assert not trainer_class(small_pad("bert", classifier_of("bert")), args).model_accepts_loss_kwargs
    assert PADTrainer(small_dense("llama", CAUSAL), args).model_accepts_loss_kwargs
    assert not PADTrainer(small_dense("bert", classifier_of("bert")), args).model_accepts_loss_kwargs


def _weighted(model: PreTrainedModel, batch_size: int, loss: Callable[[Any, Tensor], Tensor]) -> dict[str, Tensor]:
    """The gradients of the mean of a loss over batches, each weighted by how many of its tokens are to be predicted."""
    model = _without_statistics(copy.deepcopy(model)).train()
    batch = _rows(model)
    counted = (batch["labels"][:, 1:] != -100).sum()
    for start in range(0, ROWS, batch_size):
        part = {name: values[start : start + batch_size] for name, values in batch.items()}
        share = (part["labels"][:, 1:] != -100).sum() / counted
        (share * loss(model(**part), part["labels"])).backward()
    return {name: torch.zeros_like(p) if p.grad is None else p.grad for name, p in model.named_parameters()}


@pytest.mark.parametrize("batch_size", [8, 2])
@pytest.mark.parametrize("coef", [0.0, 5.0])
@pytest.mark.parametrize("trainer_class", [Trainer, PADTrainer])
@pytest.mark.parametrize("dense", CAUSAL_FAMILIES)
def test_tokens_of_accumulated_batches_count_alike_and_balance_losses_by_their_number(
    dense: str, trainer_class: type[Trainer], coef: float, batch_size: int, tmp_path: Path
) -> None:
    model = small_pad(dense, CAUSAL, balance_loss_coef=coef)
    lengths = (_rows(model)["labels"] != -100).sum(dim=1).view(-1, 2).sum(dim=1)
    assert len(set(lengths.tolist())) > 1
    step = _step(trainer_class, model, tmp_path, batch_size, train_sampling_strategy="sequential")
    _assert_close(step, _weighted(model, batch_size, lambda output, _: output.task_loss + coef * output.balance_loss))
    if not coef:
        _assert_close(step, _gradients(model, lambda output, batch: output.loss))


@pytest.mark.parametrize("trainer_class", [Trainer, PADTrainer])
def test_smoothed_labels_of_language_models_are_of_the_next_token(trainer_class: type[Trainer], tmp_path: Path) -> None:
    coef = 5.0 if trainer_class is PADTrainer else 0.0
    model = small_pad("llama", CAUSAL, balance_loss_coef=coef)
    options = {"label_smoothing_factor": 0.1, "train_sampling_strategy": "sequential"}

    def expected(output: Any, labels: Tensor) -> Tensor:
        counts = labels[:, 1:] != -100
        return _smoothed(output.logits[:, :-1][counts], labels[:, 1:][counts]) + coef * output.balance_loss

    _assert_close(_step(trainer_class, model, tmp_path, 2, **options), _weighted(model, 2, expected))


def test_phi_alone_is_without_weight_decay_beside_what_usually_is(tmp_path: Path) -> None:
    model = small_pad("bert", "AutoModel")
    for weight in model.modules():
        if hasattr(weight, "make_room"):
            weight.make_room(8, "element")
    args = TrainingArguments(tmp_path, report_to="none", use_cpu=True)
    stock = Trainer(model, args).get_decay_parameter_names(model)
    ours = PADTrainer(model, args).get_decay_parameter_names(model)
    assert set(stock) - set(ours) == {name for name in stock if name.endswith(".phi")} != set()
