"""transformers' own tests of models and configurations, on every class of every family."""

import unittest
from dataclasses import fields

import pytest
from transformers_own_tests.test_configuration_common import ConfigTester

from padnet_hf.models.known import KNOWN
from padnet_hf.models.pad_config import PADConfigMixin
from padnet_hf.models.registry import family_of
from tests.peer_suite.forms import FORMS, tiny_config
from tests.peer_suite.suites import make_suite, tell_heads

for _dense in KNOWN:
    tell_heads(family_of(_dense))

SUITES = [
    make_suite(dense, auto_class, form) for dense in KNOWN for auto_class in family_of(dense).models for form in FORMS
]
globals().update({suite.__name__: suite for suite in SUITES})  # where pytest looks for them


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dense", KNOWN)
def test_configuration(dense: str, form: str) -> None:
    config = tiny_config(dense, form)
    own = {field.name: getattr(config, field.name) for field in fields(PADConfigMixin)}
    own |= {name: getattr(config, name) for name in type(config)._own_fields()}
    has_text = hasattr(config, "vocab_size")
    common = None if has_text else ["num_channels"]
    ConfigTester(unittest.TestCase(), type(config), has_text, common, **own).run_common_tests()
