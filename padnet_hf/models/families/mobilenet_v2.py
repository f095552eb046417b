"""MobileNetV2."""

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
    seam = Convolutions(("layer.*", "conv_1x1.*"))


class PADMobileNetV2Model(PADKernelsMixin, stock.MobileNetV2Model):
    """The bare model."""


class PADMobileNetV2ForImageClassification(PADKernelsMixin, stock.MobileNetV2ForImageClassification):
    """An image to a class."""


register_family(PADMobileNetV2Config, globals())
