"""PAD-BERT with a task head. In training, the loss is the task loss plus the weighted balance loss of the routers.

Axis letters: B batch, S sequence, V vocabulary, L labels, C choices.
"""

from dataclasses import dataclass
from typing import Any, Unpack

import torch.nn.functional as F
from torch import Tensor, nn
from transformers.modeling_outputs import (
    MaskedLMOutput,
    ModelOutput,
    MultipleChoiceModelOutput,
    QuestionAnsweringModelOutput,
    SequenceClassifierOutput,
    TokenClassifierOutput,
)
from transformers.models.bert import modeling_bert as bert
from transformers.utils.generic import TransformersKwargs, can_return_tuple

from padnet_hf.models.pad_bert.configuration_pad_bert import PADBertConfig
from padnet_hf.models.pad_bert.modeling_pad_bert import PADBertModel, PADBertPreTrainedModel


@dataclass
class RoutedOutput(ModelOutput):
    """What PAD heads return beside the stock output.

    task_loss: () the task's own loss. balance_loss: () sum of the layers' balance losses, unweighted.
    router_logits: per dynamic layer, (B*S, E) float32, or (B, E) of a router of sentences; if asked for.
    """

    task_loss: Tensor | None = None
    balance_loss: Tensor | None = None
    router_logits: tuple[Tensor, ...] | None = None


@dataclass
class PADSequenceClassifierOutput(RoutedOutput, SequenceClassifierOutput):
    """SequenceClassifierOutput with RoutedOutput."""


@dataclass
class PADMaskedLMOutput(RoutedOutput, MaskedLMOutput):
    """MaskedLMOutput with RoutedOutput."""


@dataclass
class PADTokenClassifierOutput(RoutedOutput, TokenClassifierOutput):
    """TokenClassifierOutput with RoutedOutput."""


@dataclass
class PADQuestionAnsweringOutput(RoutedOutput, QuestionAnsweringModelOutput):
    """QuestionAnsweringModelOutput with RoutedOutput."""


@dataclass
class PADMultipleChoiceOutput(RoutedOutput, MultipleChoiceModelOutput):
    """MultipleChoiceModelOutput with RoutedOutput."""


class PADBertHead(PADBertPreTrainedModel):
    """What the heads share: the encoder below them, and how losses are put together."""

    def _encode(self, inputs: tuple[Tensor | None, ...], labelled: bool, kwargs: dict[str, Any]) -> ModelOutput:
        """The encoder's outputs; routers compute their balance loss only where there will be a loss to add it to."""
        return self.bert(*inputs, output_balance_loss=labelled, return_dict=True, **kwargs)

    def _routed(self, task_loss: Tensor | None, outputs: ModelOutput) -> dict[str, Any]:
        """Fields of the output that do not depend on the head; evaluation reports the task loss alone as `loss`."""
        balance = outputs.get("balance_loss")
        balance_loss = sum(balance) if balance else None
        loss = task_loss
        if loss is not None and balance_loss is not None and self.training:
            loss = loss + self.config.balance_loss_coef * balance_loss
        return {
            "loss": loss,
            "task_loss": task_loss,
            "balance_loss": balance_loss,
            "router_logits": outputs.get("router_logits"),
            "hidden_states": outputs.hidden_states,
            "attentions": outputs.attentions,
        }

    def _dropout(self) -> nn.Dropout:
        own = self.config.classifier_dropout
        return nn.Dropout(self.config.hidden_dropout_prob if own is None else own)


class PADBertForSequenceClassification(PADBertHead):
    """A sentence or a pair of sentences to one of `num_labels` classes, or to a number (regression)."""

    dense_class = bert.BertForSequenceClassification

    def __init__(self, config: PADBertConfig) -> None:
        super().__init__(config)
        self.bert = PADBertModel(config)
        self.dropout = self._dropout()
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> PADSequenceClassifierOutput:
        """input_ids (B, S), labels (B,) class numbers or values -> logits (B, L)."""
        inputs = (input_ids, attention_mask, token_type_ids, position_ids, inputs_embeds)
        outputs = self._encode(inputs, labels is not None, kwargs)
        logits = self.classifier(self.dropout(outputs.pooler_output))
        loss = None
        if labels is not None:
            loss = self.loss_function(labels=labels, pooled_logits=logits, config=self.config)
        return PADSequenceClassifierOutput(logits=logits, **self._routed(loss, outputs))


class PADBertForTokenClassification(PADBertHead):
    """Every token to one of `num_labels` classes."""

    dense_class = bert.BertForTokenClassification

    def __init__(self, config: PADBertConfig) -> None:
        super().__init__(config)
        self.bert = PADBertModel(config, add_pooling_layer=False)
        self.dropout = self._dropout()
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> PADTokenClassifierOutput:
        """input_ids (B, S), labels (B, S) with -100 where there is none -> logits (B, S, L)."""
        inputs = (input_ids, attention_mask, token_type_ids, position_ids, inputs_embeds)
        outputs = self._encode(inputs, labels is not None, kwargs)
        logits = self.classifier(self.dropout(outputs.last_hidden_state))
        loss = None if labels is None else self.loss_function(logits, labels, self.config)
        return PADTokenClassifierOutput(logits=logits, **self._routed(loss, outputs))


class PADBertForQuestionAnswering(PADBertHead):
    """The start and the end of an answer in the text."""

    dense_class = bert.BertForQuestionAnswering

    def __init__(self, config: PADBertConfig) -> None:
        super().__init__(config)
        self.bert = PADBertModel(config, add_pooling_layer=False)
        self.qa_outputs = nn.Linear(config.hidden_size, config.num_labels)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        start_positions: Tensor | None = None,
        end_positions: Tensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> PADQuestionAnsweringOutput:
        """input_ids (B, S), positions (B,) of the answer's first and last token -> start and end logits (B, S)."""
        labelled = start_positions is not None and end_positions is not None
        inputs = (input_ids, attention_mask, token_type_ids, position_ids, inputs_embeds)
        outputs = self._encode(inputs, labelled, kwargs)
        start_logits, end_logits = self.qa_outputs(outputs.last_hidden_state).unbind(dim=-1)
        loss = None
        if labelled:
            loss = self.loss_function(start_logits, end_logits, start_positions, end_positions)
        return PADQuestionAnsweringOutput(
            start_logits=start_logits.contiguous(), end_logits=end_logits.contiguous(), **self._routed(loss, outputs)
        )


class PADBertForMultipleChoice(PADBertHead):
    """Which of several continuations is right."""

    dense_class = bert.BertForMultipleChoice

    def __init__(self, config: PADBertConfig) -> None:
        super().__init__(config)
        self.bert = PADBertModel(config)
        self.dropout = self._dropout()
        self.classifier = nn.Linear(config.hidden_size, 1)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> PADMultipleChoiceOutput:
        """input_ids (B, C, S), labels (B,) the right choice -> logits (B, C)."""
        num_choices = (input_ids if input_ids is not None else inputs_embeds).shape[1]
        inputs = (input_ids, attention_mask, token_type_ids, position_ids, inputs_embeds)
        flat = tuple(None if value is None else value.flatten(0, 1) for value in inputs)
        outputs = self._encode(flat, labels is not None, kwargs)
        logits = self.classifier(self.dropout(outputs.pooler_output)).view(-1, num_choices)
        loss = None if labels is None else F.cross_entropy(logits, labels)
        return PADMultipleChoiceOutput(logits=logits, **self._routed(loss, outputs))


class PADBertForMaskedLM(PADBertHead):
    """The words under the mask."""

    dense_class = bert.BertForMaskedLM
    _tied_weights_keys = bert.BertForMaskedLM._tied_weights_keys
    _tp_plan = {"cls.predictions.decoder": "colwise_gather_output", "cls.predictions.bias": "colwise"}  # as its words

    def __init__(self, config: PADBertConfig) -> None:
        super().__init__(config)
        self.bert = PADBertModel(config, add_pooling_layer=False)
        self.cls = bert.BertOnlyMLMHead(config)
        self.post_init()

    def get_output_embeddings(self) -> nn.Linear:
        """The layer that turns hidden states into word scores; shares its weight with the word embeddings."""
        return self.cls.predictions.decoder

    def set_output_embeddings(self, new_embeddings: nn.Linear) -> None:
        """Replace that layer, its bias with it."""
        self.cls.predictions.decoder = new_embeddings
        self.cls.predictions.bias = new_embeddings.bias

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> PADMaskedLMOutput:
        """input_ids (B, S), labels (B, S) with -100 where nothing is masked -> logits (B, S, V)."""
        inputs = (input_ids, attention_mask, token_type_ids, position_ids, inputs_embeds)
        outputs = self._encode(inputs, labels is not None, kwargs)
        logits = self.cls(outputs.last_hidden_state)
        loss = None
        if labels is not None:
            loss = self.loss_function(logits=logits, labels=labels, vocab_size=self.config.vocab_size)
        return PADMaskedLMOutput(logits=logits, **self._routed(loss, outputs))


__all__ = [
    "PADBertForMaskedLM",
    "PADBertForMultipleChoice",
    "PADBertForQuestionAnswering",
    "PADBertForSequenceClassification",
    "PADBertForTokenClassification",
]
