"""Configuration of PAD-ResNet."""

from typing import Any

from huggingface_hub.dataclasses import strict
from transformers import ResNetConfig

from padnet_hf.errors import PADNetError
from padnet_hf.layers.kernel_attention import attention_named, check_temperature
from padnet_hf.models.pad_config import PADConfigMixin


@strict
class PADResNetConfig(PADConfigMixin, ResNetConfig):
    """ResNet whose convolutions are dynamic, fully or partially.

    Attributes beside ResNetConfig's and PADConfigMixin's:
        num_kernels: E, kernels of each dynamic convolution (upstream: 4).
        reduction: channels by hidden channels of the attention over kernels (upstream: 16).
        attention: "softmax" (upstream), "sigmoid", or a name given to `register_attention`.
        temperature: of the attention, above 0; kept up to date by a TemperatureCallback.
        dynamic_layers: names of the convolutions that are dynamic, within the bare model, with * and ? as in file
            names ("encoder.stages.3.*"); None for all but the stem (upstream), an empty list for none.
        stem_kernel_size, stem_stride, stem_pool: the first convolution, and whether pooling follows it; other values
            than transformers' 7, 2, True suit small images.
        image_size: height and width for which the report counts multiply-adds; any other size can be used.
        fused: whether batch norms are folded into the convolutions, for inference; see `fuse`.
    """

    model_type = "pad_resnet"
    dense_class = ResNetConfig
    copies = "kernels"
    processing_class = "AutoImageProcessor"
    auto_classes = {
        "AutoConfig": "PADResNetConfig",
        "AutoModel": "PADResNetModel",
        "AutoModelForImageClassification": "PADResNetForImageClassification",
        "AutoBackbone": "PADResNetBackbone",
    }

    num_kernels: int = 4
    reduction: int = 16
    attention: str = "softmax"
    temperature: float | int = 1.0
    dynamic_layers: list[str] | None = None
    stem_kernel_size: int = 7
    stem_stride: int = 2
    stem_pool: bool = True
    image_size: int = 224
    fused: bool = False

    def __post_init__(self, **kwargs: Any) -> None:
        super().__post_init__(**kwargs)
        for name in ("num_kernels", "reduction", "stem_kernel_size", "stem_stride", "image_size", "num_channels"):
            if getattr(self, name) < 1:
                raise PADNetError(f"{name} is {getattr(self, name)!r}, but must be at least 1.")
        attention_named(self.attention)
        check_temperature(self.temperature)
        if len(self.hidden_sizes) != len(self.depths):
            raise PADNetError(
                f"hidden_sizes {self.hidden_sizes} and depths {self.depths} must have one entry for each stage."
            )
        self._check_origin()

    @property
    def has_stock_stem(self) -> bool:
        """Whether transformers' ResNet has the same first layers."""
        return (self.stem_kernel_size, self.stem_stride, self.stem_pool) == (7, 2, True)

    def to_dense(self) -> ResNetConfig:
        """The configuration of the stock model. Raises PADNetError if it cannot have this model's stem."""
        if not self.has_stock_stem or self.fused:
            raise PADNetError(
                f"transformers' ResNet has a stem of kernel size 7, stride 2 and pooling, and batch norms, but this "
                f"model has stem_kernel_size={self.stem_kernel_size}, stem_stride={self.stem_stride}, "
                f"stem_pool={self.stem_pool}, fused={self.fused}: no stock model is equal to it."
            )
        return super().to_dense()


__all__ = ["PADResNetConfig"]
