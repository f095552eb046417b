"""Tests of transformers' for mixtures of experts, told where PAD models have what they look for."""

from contextvars import ContextVar
from unittest.mock import patch

from transformers_own_tests.test_modeling_common import ModelTesterMixin

from padnet_hf.layers import routing_log
from padnet_hf.models.outputs import RoutedOutput


class WithExperts:
    """Mixin of suites of models with experts."""

    def test_output_router_logits_from_config(self) -> None:
        """The test passes over a forward whose annotation, here the stock one, names an output without them."""
        with patch.dict(self.all_model_classes[0].forward.__annotations__, {"return": RoutedOutput}):
            ModelTesterMixin.test_output_router_logits_from_config(self)

    def test_capture_outputs_decorator(self) -> None:
        """The test takes every variable of the kind that the routing log is kept in for one of captured outputs."""
        with patch.object(routing_log, "_LOG", ContextVar("log", default=None)):
            ModelTesterMixin.test_capture_outputs_decorator(self)
