"""ResNet. All convolutions but the stem's are dynamic, as upstream's; the stem can be one for small images."""

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedModel, ResNetConfig
from transformers.models.resnet import modeling_resnet as stock

from padnet_hf.models.families.resnet_stem import PADResNetEmbeddings, StemConfig
from padnet_hf.models.kernels_model import PADKernelsMixin
from padnet_hf.models.registry import register_family
from padnet_hf.models.seams import Convolutions


@strict
class PADResNetConfig(StemConfig, ResNetConfig):
    """ResNet with dynamic convolutions; fields: ResNetConfig's, PADKernelsConfig's and StemConfig's."""

    model_type = "pad_resnet"
    dense_class = ResNetConfig
    seam = Convolutions(("encoder.*",))


class _PADResNet(PADKernelsMixin):
    def _put_in(self, base: PreTrainedModel) -> None:
        base.embedder = PADResNetEmbeddings(self.config)
        super()._put_in(base)


class PADResNetModel(_PADResNet, stock.ResNetModel):
    """The bare model: feature maps, and their average over positions."""


class PADResNetForImageClassification(_PADResNet, stock.ResNetForImageClassification):
    """An image to a class."""


class PADResNetBackbone(_PADResNet, stock.ResNetBackbone):
    """Feature maps, for detection and segmentation."""


register_family(PADResNetConfig, globals())
