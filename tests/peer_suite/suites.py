"""Makes a test class out of transformers' mixins for one PAD class in one form."""

import re
import unittest
from typing import Any

from transformers.models.auto import modeling_auto
from transformers_own_tests.test_backbone_common import BackboneTesterMixin
from transformers_own_tests.test_modeling_common import ModelTesterMixin
from transformers_own_tests.test_training_mixin import TrainingTesterMixin

from padnet_hf.models.pad_config import PADConfigMixin
from padnet_hf.models.registry import family_of
from tests.peer_suite.forms import is_default
from tests.peer_suite.offloading import OnCPU
from tests.peer_suite.one_class import OneClass, WithMaskToken
from tests.peer_suite.routing import WithExperts
from tests.peer_suite.skips import reason_to_skip
from tests.peer_suite.testers import TESTERS, TextTester

OF_IMAGES = {"test_resize_embeddings": False}
NO_ATTENTION = OF_IMAGES | {"has_attentions": False}

ATTRIBUTES: dict[str, dict[str, Any]] = {
    "electra": {"training_overfit_steps": 400},  # the stock model of this size needs as many
    "distilbert": {"test_resize_position_embeddings": True},
    "mobilenet_v2": NO_ATTENTION,
    "resnet": NO_ATTENTION,
    "vit": OF_IMAGES,
}
"""Model type of the dense model -> what the mixins read of the test class itself, as in transformers' own."""

MIXINS: dict[str, tuple[type, ...]] = {
    "AutoBackbone": (BackboneTesterMixin,),
    "AutoModelForCausalLM": (TrainingTesterMixin,),
    "AutoModelForMaskedLM": (TrainingTesterMixin,),  # which trains with tokens as labels
    "ViTModel": (WithMaskToken,),
}
"""Auto class, or stock class -> further mixins of its suites."""


def tell_heads(config: type[PADConfigMixin]) -> None:
    """Tell the mixins what head a class has, by the names of transformers' tables: they make labels to suit it."""
    for auto_class, model_class in config.models.items():
        table = re.sub("(?<=[a-z])(?=[A-Z])", "_", auto_class.removeprefix("Auto").removeprefix("Model")).upper()
        table = "FOR_BACKBONE" if table == "BACKBONE" else table
        names = getattr(modeling_auto, f"MODEL_{table}_MAPPING_NAMES".replace("__", "_"))
        names[config.model_type] = model_class.__name__


def make_suite(dense: str, auto_class: str, form: str) -> type[unittest.TestCase]:
    """A test class that pytest collects, of every test in the mixins that fit this class of the family."""
    config = family_of(dense)
    model_class = config.models[auto_class]

    own = ATTRIBUTES.get(dense, {}) | {
        "all_model_classes": (model_class,),
        "by_default": is_default(dense, auto_class, form),
        "config_class": config,
        "test_can_init_all_missing_weights_before_2023": True,  # no copyright line says that the model is younger
        "model_tester": TESTERS.get(dense, TextTester)(dense, form),
    }
    further = MIXINS.get(auto_class, ()) + MIXINS.get(model_class.dense_class.__name__, ())
    of_copies = (WithExperts,) if config.copies == "experts" else ()
    bases = (*of_copies, *further, OnCPU, OneClass, ModelTesterMixin, unittest.TestCase)
    suite = type(f"Test{model_class.__name__}_{form}", bases, own)
    for name in dir(suite):
        if (reason := reason_to_skip(model_class.__name__, name)) is not None:
            setattr(suite, name, unittest.skip(reason)(getattr(suite, name)))
    return suite
