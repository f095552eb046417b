"""Tests of transformers' for mixtures of experts, told where PAD models have what they look for."""

from unittest.mock import patch

from transformers_own_tests.test_modeling_common import ModelTesterMixin

from padnet_hf.models.outputs import RoutedOutput


class WithExperts:
    """Mixin of suites of models with experts."""

    def test_output_router_logits_from_config(self) -> None:
        """The test passes over a forward whose annotation, here the stock one, names an output without them."""
        with patch.dict(self.all_model_classes[0].forward.__annotations__, {"return": RoutedOutput}):
            ModelTesterMixin.test_output_router_logits_from_config(self)
