"""Models whose feed-forward layers are mixtures of experts: stock forwards, and the routers' loss at their end.

Axis letters: B batch, S sequence, T = B * S tokens, E experts.
"""

from collections.abc import Callable, Mapping
from functools import partial, wraps
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.initialization import normal_, zeros_
from transformers.utils import logging

from padnet_hf.errors import PADNetError
from padnet_hf.layers.router import NoisyTopKRouter, Routing, balance_loss
from padnet_hf.layers.routing_log import is_logging, logged
from padnet_hf.method.layer import pad_layers
from padnet_hf.models.experts_model import PADExpertsMixin
from padnet_hf.models.loss_items import NUMBER, share_of_items
from padnet_hf.models.moe_config import PADMoEConfig
from padnet_hf.models.outputs import routed_output

logger = logging.get_logger(__name__)


class PADMoEMixin(PADExpertsMixin):
    """Base class of PAD models whose feed-forward layers become mixtures of experts, before the stock class.

    Their forward is the stock one. In training the loss is the task loss plus the weighted balance loss of the routers;
    evaluation reports the task loss alone. Both stand in the output by themselves too, see `RoutedOutput`. Where the
    task loss is divided by `num_items_in_batch`, the balance loss gets this batch's share of the items as a factor: in
    accumulated batches it is averaged over them.
    """

    config: PADMoEConfig
    balance_losses: list[Tensor] | None = None
    """Where who trains the model with a loss of their own, as PADTrainer does, has the balance loss of forwards without
    labels put, to add it."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if cls.dense_class in cls.__bases__ and cls.dense_class is not PreTrainedModel:  # not in a subclass again
            cls.forward = _routed(cls.dense_class.forward)

    def _put_in(self, base: PreTrainedModel) -> None:
        self.config.seam.replace(base, self.config.moe_layers, **self.config.expert_options())

    def _set_gradient_checkpointing(self, enable: bool = True, **kwargs: Any) -> None:
        """transformers' seam below its methods of either name; with a balance loss never the reentrant kind.

        That one runs layers without gradients first, so that the routers' loss would be lost. The other kind gives the
        same numbers.
        """
        run = kwargs.get("gradient_checkpointing_func")
        if isinstance(run, partial) and run.keywords.get("use_reentrant") and self.config.balance_loss_coef:
            logger.warning_once("use_reentrant=True would lose the routers' balance loss: use_reentrant=False is used")
            kwargs["gradient_checkpointing_func"] = partial(run, use_reentrant=False)
        super()._set_gradient_checkpointing(enable, **kwargs)

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, NoisyTopKRouter):
            normal_(module.weight, std=self.config.router_init_std)
            if module.noise_weight is not None:
                zeros_(module.noise_weight)


def _routed(forward: Callable[..., Any]) -> Callable[..., Any]:
    """A stock forward inside a routing log, and what follows from it in the output."""
    names = list(signature(forward).parameters)

    @wraps(forward)  # with the signature, by which the Trainer chooses columns
    def routed(self: PADMoEMixin, *args: Any, **kwargs: Any) -> Any:
        if is_logging():  # a bare model inside of a head
            return forward(self, *args, **kwargs)
        with_logits = kwargs.pop("output_router_logits", None)
        return_dict = kwargs.pop("return_dict", None)
        output, log = logged(partial(forward, self, *args, return_dict=True, **kwargs))
        given = dict(zip(names[1:], args, strict=False)) | kwargs
        output = _with_routing(self, output, log, given)
        if with_logits if with_logits is not None else self.config.output_router_logits:
            output.router_logits = tuple(routing.logits for routing in log)
        if return_dict if return_dict is not None else self.config.return_dict:
            return output
        return output.to_tuple()

    return routed


def _with_routing(model: PADMoEMixin, output: Any, log: list[Routing], given: Mapping[str, Any]) -> Any:
    """The output with task loss and balance loss, where it has a loss, and in training; `given` is the input."""
    task_loss, mask = output.get("loss"), given.get("attention_mask")
    if model.training:
        _check_log(model, log, has_loss=task_loss is not None)
    if not log or (task_loss is None and not model.training):
        return routed_output(output, task_loss=task_loss)
    losses = [balance_loss(routing, _token_mask(mask, routing)) for routing in log]
    balance = sum(losses[1:], losses[0])
    if task_loss is None:
        if model.balance_losses is not None and torch.is_grad_enabled():
            model.balance_losses.append(balance)
        return routed_output(output, balance_loss=balance)
    loss = task_loss
    if model.training:
        num_items = given.get(NUMBER) if model.accepts_loss_kwargs else None
        share = 1 if num_items is None else share_of_items(model, given, num_items)
        loss = task_loss + model.config.balance_loss_coef * share * balance
    return routed_output(output, loss=loss, task_loss=task_loss, balance_loss=balance)


def _check_log(model: PADMoEMixin, log: list[Routing], *, has_loss: bool) -> None:
    """See that the balance loss of a training step reaches the routers. Raises PADNetError if it cannot."""
    if not model.config.balance_loss_coef or torch.compiler.is_compiling():
        return
    if not log and not all(layer.routing_is_idle for layer in pad_layers(model).values()):
        logger.warning_once("no balance loss: layers that are compiled one by one cannot tell it; compile the model")
    if log and not has_loss and torch.is_grad_enabled() and model.balance_losses is None:
        logger.warning_once(
            "the model has no labels, and so no loss that its balance loss could be a part of: add "
            "config.balance_loss_coef * output.balance_loss to yours (PADTrainer does, the stock Trainer and TRL's do "
            "not: put padnet_hf.PADTrainer before them)"
        )
    if torch.is_grad_enabled() and any(routing.was_without_gradients for routing in log):
        raise PADNetError(
            "a router ran without gradients while the model is trained, so its balance loss would have no effect: "
            "reentrant checkpointing does that. Use checkpointing with use_reentrant=False, or balance_loss_coef=0."
        )


def _token_mask(mask: Tensor | None, routing: Routing) -> Tensor | None:
    """The attention mask, (B, S) or (B, C, S), as one of tokens (T,); None if it is of another kind.

    Of a language model it may be longer than what is new: tokens in the cache come first.
    """
    tokens = routing.logits.shape[0]
    if mask is not None and mask.dim() == 2 and mask.numel() > tokens:
        mask = mask[:, mask.shape[1] - tokens // mask.shape[0] :]
    is_of_tokens = mask is not None and mask.dim() <= 3 and mask.numel() == tokens
    return mask.flatten() if is_of_tokens else None
