"""ResNet's stem with a choice of kernel size, stride and pooling: transformers' own is made for large images.

Axis letters: B batch, C channels.
"""

from dataclasses import dataclass

from torch import Tensor, nn
from transformers import PreTrainedConfig
from transformers.models.resnet.modeling_resnet import ResNetConvLayer, ResNetEmbeddings

from padnet_hf.errors import PADNetError
from padnet_hf.models.kernels_config import PADKernelsConfig


@dataclass
class StemConfig(PADKernelsConfig):
    """What a ResNet's configuration says of its stem.

    Attributes:
        stem_kernel_size, stem_stride, stem_pool: the first convolution, and whether pooling follows it; other values
            than transformers' 7, 2, True suit small images.
        image_size: height and width for which the report counts multiply-adds; any other size can be used.
    """

    stem_kernel_size: int = 7
    stem_stride: int = 2
    stem_pool: bool = True
    image_size: int = 224

    def _check_ranges(self) -> None:
        super()._check_ranges()
        for name in ("stem_kernel_size", "stem_stride", "image_size"):
            self._check(getattr(self, name) >= 1, name, "at least 1")
        same = len(self.hidden_sizes) == len(self.depths)
        self._check(same, "hidden_sizes", f"one number for each stage of depths, which is {self.depths}")

    def to_dense(self) -> PreTrainedConfig:
        """The configuration of the stock model. Raises PADNetError if it cannot have this model's stem."""
        if (self.stem_kernel_size, self.stem_stride, self.stem_pool) != (7, 2, True):
            raise PADNetError(
                "transformers' ResNet has a stem of kernel size 7, stride 2 and pooling, but this model has "
                f"stem_kernel_size={self.stem_kernel_size}, stem_stride={self.stem_stride}, "
                f"stem_pool={self.stem_pool}: no stock model is equal to it."
            )
        return super().to_dense()


class PADResNetEmbeddings(ResNetEmbeddings):
    """The stem: one convolution, and perhaps pooling."""

    def __init__(self, config: StemConfig) -> None:
        nn.Module.__init__(self)
        self.num_channels = config.num_channels
        self.embedder = ResNetConvLayer(
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
