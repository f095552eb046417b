"""transformers' own tests of models, on PAD-BERT."""

import inspect
import unittest
from functools import partial
from unittest.mock import patch

import pytest
import torch
from torch import Tensor
from transformers_own_tests.test_configuration_common import ConfigTester
from transformers_own_tests.test_modeling_common import ModelTesterMixin
from transformers_own_tests.test_training_mixin import TrainingTesterMixin

from padnet_hf import (
    PADBertConfig,
    PADBertForMaskedLM,
    PADBertForMultipleChoice,
    PADBertForQuestionAnswering,
    PADBertForSequenceClassification,
    PADBertForTokenClassification,
    PADBertModel,
)
from tests.peer_suite.forms import FORMS, tiny_bert
from tests.peer_suite.suites import ModelTester, make_suite, tell_heads

HEADS = {
    "": PADBertModel,
    "FOR_MASKED_LM_": PADBertForMaskedLM,
    "FOR_MULTIPLE_CHOICE_": PADBertForMultipleChoice,
    "FOR_QUESTION_ANSWERING_": PADBertForQuestionAnswering,
    "FOR_SEQUENCE_CLASSIFICATION_": PADBertForSequenceClassification,
    "FOR_TOKEN_CLASSIFICATION_": PADBertForTokenClassification,
}
tell_heads("pad_bert", HEADS)


class BertTester(ModelTester):
    batch_size = 13
    seq_length = 7
    num_choices = 4
    hidden_size = 32
    num_hidden_layers = 2
    num_attention_heads = 4

    def make_inputs(self) -> dict[str, Tensor]:
        """Sentences of different lengths, padded on the right."""
        shape = (self.batch_size, self.seq_length)
        lengths = torch.randint(2, self.seq_length + 1, (self.batch_size, 1))
        return {
            "input_ids": torch.randint(1, 99, shape),
            "token_type_ids": torch.randint(2, shape),
            "attention_mask": (torch.arange(self.seq_length) < lengths).long(),
        }


class WithExperts:
    """Tells the test that looks for experts in the source of a model by transformers' decorator that there are some."""

    def test_moe_models_record_router_logits(self) -> None:
        with patch.object(inspect, "getsource", return_value="@use_experts_implementation"):
            ModelTesterMixin.test_moe_models_record_router_logits(self)


# The labels with which a model is trained to know one batch by heart are its tokens.
MIXINS = {PADBertForMaskedLM: (WithExperts, TrainingTesterMixin)}
SUITES = [
    make_suite(model_class, form, BertTester(partial(tiny_bert, form)), MIXINS.get(model_class, (WithExperts,)))
    for model_class in HEADS.values()
    for form in FORMS
]
globals().update({suite.__name__: suite for suite in SUITES})  # where pytest looks for them


@pytest.mark.parametrize("form", FORMS)
def test_configuration(form: str) -> None:
    config = tiny_bert(form)
    fields = {name: getattr(config, name) for name in ("num_experts", "dynamic_counts", "partition")}
    ConfigTester(unittest.TestCase(), PADBertConfig, **fields).run_common_tests()
