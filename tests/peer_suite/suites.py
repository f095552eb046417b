"""Makes a test class out of transformers' mixins for one PAD class in one form."""

import unittest
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor
from transformers import PreTrainedModel, set_seed
from transformers.configuration_utils import PreTrainedConfig
from transformers.models.auto import modeling_auto
from transformers_own_tests.test_modeling_common import ModelTesterMixin

from tests.peer_suite.skips import reason_to_skip


class ModelTester:
    """What the mixins ask a model's tester for; the sizes they read are attributes of the subclasses.

    Args:
        make_config: a new configuration at every call.
    """

    is_training = True

    def __init__(self, make_config: Callable[[], PreTrainedConfig]) -> None:
        self.get_config = make_config

    def make_inputs(self) -> dict[str, Tensor]:
        """The model's arguments, without labels."""
        raise NotImplementedError

    def prepare_config_and_inputs_for_common(self) -> tuple[PreTrainedConfig, dict[str, Tensor]]:
        """Called so by the mixins."""
        return self.get_config(), self.make_inputs()


def tell_heads(model_type: str, heads: Mapping[str, type[PreTrainedModel]]) -> None:
    """Tell the mixins what head a class has, by the names of transformers' tables: they make labels to suit it."""
    for table, model_class in heads.items():
        getattr(modeling_auto, f"MODEL_{table}MAPPING_NAMES")[model_type] = model_class.__name__


def make_suite(
    model_class: type[PreTrainedModel], form: str, tester: ModelTester, mixins: tuple[type, ...] = (), **attributes: Any
) -> type[unittest.TestCase]:
    """A test class that pytest collects, of every test in `mixins` and the common ones.

    attributes: what the mixins read of the test class itself.
    """

    def set_up(self: unittest.TestCase) -> None:
        set_seed(0)  # every test alone gives what it gives among others

    own = {
        "all_model_classes": (model_class,),
        "config_class": model_class.config_class,
        "test_can_init_all_missing_weights_before_2023": True,  # no copyright line says that the model is younger
        "model_tester": tester,
        "setUp": set_up,
    }
    bases = (*mixins, ModelTesterMixin, unittest.TestCase)
    suite = type(f"Test{model_class.__name__}_{form}", bases, own | attributes)
    for name in dir(suite):
        if (reason := reason_to_skip(model_class.__name__, name)) is not None:
            setattr(suite, name, unittest.skip(reason)(getattr(suite, name)))
    return suite
