"""PAD-ResNet: transformers' ResNet with dynamic convolutions.

Axis letters: B batch, C channels, L labels.
"""

import math
from fnmatch import fnmatchcase
from typing import Any, Self

import torch
from torch import Tensor, nn
from transformers.backbone_utils import BackboneMixin
from transformers.initialization import copy_, zeros_
from transformers.models.resnet import modeling_resnet as resnet

from padnet_hf.errors import PADNetError
from padnet_hf.layers.dynamic_conv import PADDynamicConv2d
from padnet_hf.layers.kernel_attention import KernelAttention, PairedLinear, check_temperature
from padnet_hf.layers.sample_conv import Geometry
from padnet_hf.method.weight import PADWeight
from padnet_hf.models.pad_model import PADModelMixin
from padnet_hf.models.pad_resnet.configuration_pad_resnet import PADResNetConfig
from padnet_hf.models.pad_resnet.fusing import drop_norms, fold_norms


class PADResNetEmbeddings(resnet.ResNetEmbeddings):
    """ResNet's stem with a choice of kernel size, stride and pooling."""

    def __init__(self, config: PADResNetConfig) -> None:
        nn.Module.__init__(self)
        self.num_channels = config.num_channels
        self.embedder = resnet.ResNetConvLayer(
            config.num_channels,
            config.embedding_size,
            kernel_size=config.stem_kernel_size,
            stride=config.stem_stride,
            activation=config.hidden_act,
        )
        self.pooler = nn.MaxPool2d(kernel_size=3, stride=2, padding=1) if config.stem_pool else nn.Identity()

    def forward(self, pixel_values: Tensor) -> Tensor:
        """pixel_values (B, C, height, width) -> (B, embedding_size, ...). Raises PADNetError for another C."""
        if pixel_values.dim() != 4 or pixel_values.shape[1] != self.num_channels:
            raise PADNetError(
                f"pixel_values has the shape {tuple(pixel_values.shape)}, but this model takes (batch, "
                f"{self.num_channels}, height, width): convert the images, or build the model with another "
                "num_channels."
            )
        return super().forward(pixel_values)


class PADResNetPreTrainedModel(PADModelMixin, resnet.ResNetPreTrainedModel):
    """Base class of the PAD-ResNet models."""

    config_class = PADResNetConfig
    config: PADResNetConfig
    _no_split_modules = ["ResNetConvLayer", "ResNetShortCut"]

    def set_temperature(self, temperature: float) -> None:
        """Set the temperature of every attention over kernels; it is saved with the model. PADNetError unless > 0."""
        self.config.temperature = check_temperature(temperature)
        for module in self.modules():
            if isinstance(module, KernelAttention):
                module.temperature = self.config.temperature

    @torch.no_grad()
    def fuse(self) -> Self:
        """Fold every batch norm into the convolution before it, in place, for inference: less to compute and store.

        Static and dynamic channels alike: the norm is a factor and a shift per channel, and kernels mix linearly. The
        logits stay the same up to rounding. The model cannot be trained well or made dense afterwards.
        """
        if not self.config.fused:
            fold_norms(self)
            self.config.fused = True
            if self.config.dynamic_counts is not None:  # the shifts are new, static weights
                record = self.config.partition
                self.record_partition({**record, "mask_hash": self._hash_masks(record["granularity"])})
        return self.eval()

    def _build(self, config: PADResNetConfig) -> None:
        """The layers that the bare model and the backbone share."""
        self.embedder = PADResNetEmbeddings(config)
        self.encoder = resnet.ResNetEncoder(config)
        _make_dynamic(self, config)
        _count_positions(self, config)
        if config.fused:
            drop_norms(self)
        self._make_room()

    def _initial_std(self, weight: PADWeight) -> float:
        out_channels, _, height, width = weight.shape
        return math.sqrt(2 / (out_channels * height * width))  # as ResNet's own convolutions: kaiming, fan out

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, PairedLinear):
            copy_(module.weight, module.paired(module.weight))
            zeros_(module.bias)


def _make_dynamic(model: nn.Module, config: PADResNetConfig) -> None:
    convolutions = {name: m for name, m in model.named_modules() if isinstance(m, nn.Conv2d)}
    patterns = ["encoder.*"] if config.dynamic_layers is None else config.dynamic_layers
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in convolutions):
            raise PADNetError(
                f"dynamic_layers has {pattern!r}, but no convolution is called so; names are for instance "
                f"{', '.join(list(convolutions)[:3])}, and * stands for any part of one."
            )
    for name, plain in convolutions.items():
        if any(fnmatchcase(name, pattern) for pattern in patterns):
            dynamic = PADDynamicConv2d(
                plain.in_channels,
                plain.out_channels,
                plain.kernel_size,
                plain.stride,
                plain.padding,
                plain.dilation,
                plain.groups,
                bias=plain.bias is not None,
                num_kernels=config.num_kernels,
                reduction=config.reduction,
                attention=config.attention,
                temperature=config.temperature,
            )
            model.set_submodule(name, dynamic)


def _count_positions(model: nn.Module, config: PADResNetConfig) -> None:
    """Tell every dynamic convolution its output positions for images of `image_size`, for the report."""

    def after(layer: nn.Module, size: int) -> int:
        """Height and width of what a convolution gives for (size, size)."""
        conv = layer.convolution
        is_dynamic = isinstance(conv, PADDynamicConv2d)
        geometry = conv.geometry if is_dynamic else Geometry(conv.stride, conv.padding, conv.dilation, conv.groups)
        height, width = geometry.output_size((size, size), conv.kernel_size)
        if is_dynamic:
            conv.output_positions = height * width
        return height

    size = after(model.embedder.embedder, config.image_size)
    size = (size - 1) // 2 + 1 if config.stem_pool else size
    for stage in model.encoder.stages:
        for layer in stage.layers:
            if not isinstance(layer.shortcut, nn.Identity):
                after(layer.shortcut, size)
            for conv_layer in layer.layer:
                size = after(conv_layer, size)


class PADResNetModel(PADResNetPreTrainedModel, resnet.ResNetModel):
    """The bare PAD-ResNet: feature maps, and their average over positions."""

    dense_class = resnet.ResNetModel

    def __init__(self, config: PADResNetConfig) -> None:
        resnet.ResNetPreTrainedModel.__init__(self, config)
        self._build(config)
        self.pooler = nn.AdaptiveAvgPool2d((1, 1))
        self.post_init()


class PADResNetForImageClassification(PADResNetPreTrainedModel, resnet.ResNetForImageClassification):
    """An image to one of `num_labels` classes: pixel_values (B, C, height, width), labels (B,) -> logits (B, L)."""

    dense_class = resnet.ResNetForImageClassification

    def __init__(self, config: PADResNetConfig) -> None:
        resnet.ResNetPreTrainedModel.__init__(self, config)
        self.num_labels = config.num_labels
        self.resnet = PADResNetModel(config)
        head = nn.Linear(config.hidden_sizes[-1], config.num_labels) if config.num_labels > 0 else nn.Identity()
        self.classifier = nn.Sequential(nn.Flatten(), head)
        self.post_init()


class PADResNetBackbone(PADResNetPreTrainedModel, resnet.ResNetBackbone):
    """PAD-ResNet as a backbone for detection and segmentation: feature maps of the stages in `out_features`."""

    dense_class = resnet.ResNetBackbone

    def __init__(self, config: PADResNetConfig, **kwargs: Any) -> None:
        BackboneMixin.__init__(self, config, **kwargs)
        self.num_features = [config.embedding_size, *config.hidden_sizes]
        self._build(config)
        self.post_init()


__all__ = ["PADResNetBackbone", "PADResNetForImageClassification", "PADResNetModel", "PADResNetPreTrainedModel"]
