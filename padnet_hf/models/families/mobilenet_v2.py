"""MobileNetV2. Departure from upstream: convolutions by channel (3x3) stay static; `dynamic_layers` takes them in.

They have 5 % of the kernels' weights, and make one image cost 1.6 times that of the plain network instead of 1.3 (unit
0.3, on a CPU: docs/families.md).
"""

from huggingface_hub.dataclasses import strict
from transformers import MobileNetV2Config
from transformers.models.mobilenet_v2 import modeling_mobilenet_v2 as stock

from padnet_hf.models.kernels_config import PADKernelsConfig
from padnet_hf.models.kernels_model import PADKernelsMixin
from padnet_hf.models.registry import register_family
from padnet_hf.models.seams import Convolutions


@strict
class PADMobileNetV2Config(PADKernelsConfig, MobileNetV2Config):
    """MobileNetV2 with dynamic convolutions; fields: MobileNetV2Config's and PADKernelsConfig's."""

    model_type = "pad_mobilenet_v2"
    dense_class = MobileNetV2Config
    seam = Convolutions(("layer.*.expand_1x1.*", "layer.*.reduce_1x1.*", "conv_1x1.*"))


class PADMobileNetV2Model(PADKernelsMixin, stock.MobileNetV2Model):
    """The bare model."""


class PADMobileNetV2ForImageClassification(PADKernelsMixin, stock.MobileNetV2ForImageClassification):
    """An image to a class."""


register_family(PADMobileNetV2Config, globals())
