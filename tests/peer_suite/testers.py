"""What transformers' mixins ask the tester of a model for: sizes, a configuration, and inputs."""

from inspect import signature

import torch
from torch import Tensor

from padnet_hf.models.pad_config import PADConfigMixin
from padnet_hf.models.registry import family_of
from tests.peer_suite.forms import tiny_config


class ModelTester:
    """Base class; the sizes that the mixins read are attributes.

    Args:
        dense: the family, by the model type of its dense models.
        form: one of FORMS.
    """

    batch_size = 3
    is_training = True
    num_hidden_layers = 2

    def __init__(self, dense: str, form: str) -> None:
        self.dense, self.form = dense, form

    def get_config(self) -> PADConfigMixin:
        """A new configuration at every call."""
        return tiny_config(self.dense, self.form)

    def make_inputs(self) -> dict[str, Tensor]:
        """The model's arguments, without labels."""
        raise NotImplementedError

    def prepare_config_and_inputs_for_common(self) -> tuple[PADConfigMixin, dict[str, Tensor]]:
        """Called so by the mixins."""
        return self.get_config(), self.make_inputs()


class TextTester(ModelTester):
    """Of models of texts."""

    seq_length = 7
    num_choices = 4
    hidden_size = 32
    num_attention_heads = 4

    def make_inputs(self) -> dict[str, Tensor]:
        """Sentences of different lengths, padded on the right."""
        shape = (self.batch_size, self.seq_length)
        lengths = torch.randint(2, self.seq_length + 1, (self.batch_size, 1))
        inputs = {
            "input_ids": torch.randint(3, 99, shape),
            "token_type_ids": torch.randint(2, shape),
            "attention_mask": (torch.arange(self.seq_length) < lengths).long(),
        }
        taken = signature(family_of(self.dense).models["AutoModel"].forward).parameters
        return {name: tensor for name, tensor in inputs.items() if name in taken}


class ImageTester(ModelTester):
    """Of models of images."""

    image_size = 32

    def make_inputs(self) -> dict[str, Tensor]:
        """Noise as images."""
        return {"pixel_values": torch.randn(self.batch_size, 3, self.image_size, self.image_size)}


class ResNetTester(ImageTester):
    """Of ResNet: four stages, the deepest of two layers."""

    expected_num_hidden_layers = 5  # hidden states: the stem's, and one for each stage
    seq_length = hidden_size = 8  # the stem's height and width, where other models have sequence and width


class MobileNetTester(ImageTester):
    """Of MobileNetV2, whose number of layers no configuration changes."""

    expected_num_hidden_layers = 16  # hidden states: one for each inverted residual layer
    seq_length = hidden_size = 8  # the first one's height and width


class ViTTester(ImageTester):
    """Of ViT: sixteen patches, the first half of which a test covers, and the class token."""

    image_size = 16
    num_masks = 8
    mask_length = 16
    seq_length = 17
    hidden_size = 32
    num_attention_heads = 4


TESTERS = {"mobilenet_v2": MobileNetTester, "resnet": ResNetTester, "vit": ViTTester}
"""Model type of the dense model -> its tester; of all others a TextTester."""
