"""What routed models return: transformers' outputs, and beside them what the routers decided."""

from dataclasses import dataclass

from torch import Tensor
from transformers import modeling_outputs as stock
from transformers.modeling_outputs import ModelOutput

from padnet_hf.errors import PADNetError


@dataclass
class RoutedOutput(ModelOutput):
    """What PAD models return beside the stock output.

    task_loss: () the task's own loss. balance_loss: () sum of the routers' balance losses, unweighted.
    router_logits: (B*S, E) float32 of every call of a router, if asked for.
    """

    task_loss: Tensor | None = None
    balance_loss: Tensor | None = None
    router_logits: tuple[Tensor, ...] | None = None


@dataclass
class PADModelOutput(RoutedOutput, stock.BaseModelOutput):
    """BaseModelOutput with RoutedOutput."""


@dataclass
class PADModelOutputWithPooling(RoutedOutput, stock.BaseModelOutputWithPooling):
    """BaseModelOutputWithPooling with RoutedOutput."""


@dataclass
class PADModelOutputWithPoolingAndCrossAttentions(RoutedOutput, stock.BaseModelOutputWithPoolingAndCrossAttentions):
    """BaseModelOutputWithPoolingAndCrossAttentions with RoutedOutput."""


@dataclass
class PADModelOutputWithPast(RoutedOutput, stock.BaseModelOutputWithPast):
    """BaseModelOutputWithPast with RoutedOutput."""


@dataclass
class PADModelOutputWithPastAndCrossAttentions(RoutedOutput, stock.BaseModelOutputWithPastAndCrossAttentions):
    """BaseModelOutputWithPastAndCrossAttentions with RoutedOutput."""


@dataclass
class PADCausalLMOutputWithPast(RoutedOutput, stock.CausalLMOutputWithPast):
    """CausalLMOutputWithPast with RoutedOutput."""


@dataclass
class PADMaskedLMOutput(RoutedOutput, stock.MaskedLMOutput):
    """MaskedLMOutput with RoutedOutput."""


@dataclass
class PADSequenceClassifierOutput(RoutedOutput, stock.SequenceClassifierOutput):
    """SequenceClassifierOutput with RoutedOutput."""


@dataclass
class PADSequenceClassifierOutputWithPast(RoutedOutput, stock.SequenceClassifierOutputWithPast):
    """SequenceClassifierOutputWithPast with RoutedOutput."""


@dataclass
class PADTokenClassifierOutput(RoutedOutput, stock.TokenClassifierOutput):
    """TokenClassifierOutput with RoutedOutput."""


@dataclass
class PADQuestionAnsweringOutput(RoutedOutput, stock.QuestionAnsweringModelOutput):
    """QuestionAnsweringModelOutput with RoutedOutput."""


@dataclass
class PADMultipleChoiceOutput(RoutedOutput, stock.MultipleChoiceModelOutput):
    """MultipleChoiceModelOutput with RoutedOutput."""


@dataclass
class PADImageClassifierOutput(RoutedOutput, stock.ImageClassifierOutput):
    """ImageClassifierOutput with RoutedOutput."""


_ROUTED: dict[type[ModelOutput], type[RoutedOutput]] = {}


def register_output(routed: type[RoutedOutput]) -> type[RoutedOutput]:
    """Decorator for a class `(RoutedOutput, StockOutput)`: what models that return StockOutput return as PAD models."""
    _ROUTED[routed.__mro__[2]] = routed
    return routed


for _class in RoutedOutput.__subclasses__():
    register_output(_class)


def routed_output(output: ModelOutput, **routed: object) -> RoutedOutput:
    """A stock output with the fields of RoutedOutput. Raises PADNetError for a class that none is registered for."""
    found = _ROUTED.get(type(output))
    if found is None:
        name = type(output).__name__
        raise PADNetError(
            f"the model returns {name}, which has no place for what routers decided: declare a dataclass "
            f"PAD{name}(RoutedOutput, {name}) and give it to padnet_hf.models.outputs.register_output."
        )
    return found(**{**output, **routed})
