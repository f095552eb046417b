"""The loss of a training step: right under gradient accumulation, and with the routers' part in it."""

import inspect
from typing import Any

from torch import Tensor, nn
from transformers import Trainer


class StepLossMixin(Trainer):
    """Before a Trainer: what the stock one does not know about the loss of a model.

    - A head whose loss takes no `num_items_in_batch` gives the mean of its batch, although its forward takes any
      keyword. transformers 5.23 then adds up the means of accumulated batches; here they are averaged.
    - Where the labels are kept from the model (`label_smoothing_factor`, `compute_loss_func`), it cannot add its
      balance loss to the task's. Here it is added.
    - phi, of which two scale factors are made, has no weight decay, whatever weight it belongs to.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        model = self.accelerator.unwrap_model(self.model)
        model = model.get_base_model() if hasattr(model, "get_base_model") else model
        self.model_accepts_loss_kwargs = self.model_accepts_loss_kwargs and _divides_by_items(model)
        if hasattr(model, "balance_loss_is_added"):
            model.balance_loss_is_added = True

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Tensor | Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Tensor | tuple[Tensor, Any]:
        """The stock Trainer's loss; in training with the balance loss of a model that saw no labels."""
        loss, outputs = super().compute_loss(model, inputs, True, num_items_in_batch)
        balance = outputs.get("balance_loss") if isinstance(outputs, dict) else None
        if model.training and balance is not None and outputs.get("task_loss") is None:
            share = self.current_gradient_accumulation_steps if self.compute_loss_func is not None else 1
            loss = loss + self._balance_loss_coef() * balance / share
        return (loss, outputs) if return_outputs else loss

    def _balance_loss_coef(self) -> float:
        return self.accelerator.unwrap_model(self.model).config.balance_loss_coef

    def get_decay_parameter_names(self, model: nn.Module) -> list[str]:
        """The stock Trainer's names without those of phi."""
        return [name for name in super().get_decay_parameter_names(model) if name.rpartition(".")[2] != "phi"]


def _divides_by_items(model: nn.Module) -> bool:
    """Whether a model's loss is a sum divided by `num_items_in_batch`, if that is given."""
    forward = inspect.unwrap(type(model).forward)
    if "loss_function" not in forward.__code__.co_names:
        return False
    return "num_items_in_batch" in inspect.signature(model.loss_function).parameters
