"""transformers' own tests of models, on PAD-ResNet."""

import unittest
from functools import partial

import pytest
import torch
from torch import Tensor
from transformers_own_tests.test_backbone_common import BackboneTesterMixin
from transformers_own_tests.test_configuration_common import ConfigTester

from padnet_hf import PADResNetBackbone, PADResNetConfig, PADResNetForImageClassification, PADResNetModel
from tests.peer_suite.forms import FORMS, tiny_resnet
from tests.peer_suite.suites import ModelTester, make_suite, tell_heads

HEADS = {
    "": PADResNetModel,
    "FOR_BACKBONE_": PADResNetBackbone,
    "FOR_IMAGE_CLASSIFICATION_": PADResNetForImageClassification,
}
tell_heads("pad_resnet", HEADS)


class ResNetTester(ModelTester):
    batch_size = 3
    num_hidden_layers = 2  # of the deepest stage
    expected_num_hidden_layers = 5  # hidden states: the stem's, and one for each stage
    seq_length = hidden_size = 8  # the stem's height and width, where other models have sequence and width

    def make_inputs(self) -> dict[str, Tensor]:
        """Noise as images."""
        return {"pixel_values": torch.randn(self.batch_size, 3, 32, 32)}


SUITES = [
    make_suite(
        model_class,
        form,
        ResNetTester(partial(tiny_resnet, form)),
        (BackboneTesterMixin,) if model_class is PADResNetBackbone else (),
        has_attentions=False,
        test_resize_embeddings=False,
    )
    for model_class in HEADS.values()
    for form in FORMS
]
globals().update({suite.__name__: suite for suite in SUITES})  # where pytest looks for them


@pytest.mark.parametrize("form", FORMS)
def test_configuration(form: str) -> None:
    config = tiny_resnet(form)
    fields = {name: getattr(config, name) for name in ("num_kernels", "dynamic_counts", "partition")}
    common = ["num_channels", "hidden_sizes"]
    tester = ConfigTester(unittest.TestCase(), PADResNetConfig, False, common, **fields)
    tester.run_common_tests()
