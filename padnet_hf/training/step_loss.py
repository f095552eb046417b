"""The loss of a training step: right under gradient accumulation, and with the routers' part in it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Trainer

from padnet_hf.models.loss_items import divides_by_items, share_of_items
from padnet_hf.models.moe_model import PADMoEMixin


class StepLossMixin(Trainer):
    """Before a Trainer: what the stock one does not know about the loss of a model.

    - A head whose loss takes no `num_items_in_batch` gives the mean of its batch, although its forward takes any
      keyword. transformers 5.23 then adds up the means of accumulated batches; here they are averaged.
    - Where the labels are kept from the model (`label_smoothing_factor`, `compute_loss_func`, Trainers that make their
      loss themselves, as TRL's), it cannot add its balance loss to the task's. Here it is added.
    - phi, of which two scale factors are made, has no weight decay, whatever weight it belongs to.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.model_accepts_loss_kwargs = self.model_accepts_loss_kwargs and divides_by_items(self._own_model())

    def _own_model(self) -> nn.Module:
        """The model itself, whatever is wrapped around it."""
        model = self.accelerator.unwrap_model(self.model)
        return model.get_base_model() if hasattr(model, "get_base_model") else model

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Tensor | Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Tensor | tuple[Tensor, Any]:
        """That of the Trainer behind this; in training with the balance loss of a model that saw no labels."""
        given = dict(inputs)  # the stock Trainer takes the labels out
        with _balance_losses(model) as balance:
            result = super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        if not balance:
            return result
        loss, *outputs = result if return_outputs else (result,)
        mean = torch.stack([value.to(loss.device) for value in balance]).mean()  # a loss may take more than one forward
        loss = loss + self._balance_share(given, num_items_in_batch) * mean
        return (loss, *outputs) if return_outputs else loss

    def _balance_share(self, inputs: dict[str, Any], num_items: Tensor | int | None) -> Tensor | float:
        """The balance loss's factor: its weight, and the batch's share of the items by which the task loss is scaled.

        As that one it counts for all processes, where the items are those of all: their gradients are averaged.
        """
        model = self._own_model()
        coef = model.config.balance_loss_coef
        if num_items is None:  # a user's own loss is scaled for accumulated batches, others are divided later
            return coef / (self.current_gradient_accumulation_steps if self.compute_loss_func is not None else 1)
        of_all = self.args.average_tokens_across_devices and self.args.n_gpu <= 1
        processes = self.accelerator.num_processes // self.get_tp_size() if of_all else 1
        return coef * share_of_items(model, inputs, num_items) * processes

    def get_decay_parameter_names(self, model: nn.Module) -> list[str]:
        """The stock Trainer's names without those of phi."""
        return [name for name in super().get_decay_parameter_names(model) if name.rpartition(".")[2] != "phi"]


@contextmanager
def _balance_losses(model: nn.Module) -> Iterator[list[Tensor]]:
    """Those of all forwards in training, with gradients, of models that saw no labels."""
    found: list[Tensor] = []
    models = [module for module in model.modules() if isinstance(module, PADMoEMixin)]
    try:
        for module in models:
            module.balance_losses = found
        yield found
    finally:
        for module in models:
            module.balance_losses = None
