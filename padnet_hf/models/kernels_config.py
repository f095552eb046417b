"""What the configuration of a network of dynamic convolutions adds to the stock one of its family."""

from dataclasses import dataclass
from typing import ClassVar

from transformers import PreTrainedConfig

from padnet_hf.errors import PADNetError
from padnet_hf.layers.kernel_attention import attention_named, check_temperature
from padnet_hf.models.pad_config import PADConfigMixin
from padnet_hf.models.seams import Convolutions


@dataclass
class PADKernelsConfig(PADConfigMixin):
    """Base class of configurations of models whose convolutions are dynamic.

    Attributes beside the stock ones and PADConfigMixin's:
        num_kernels: E, kernels of each dynamic convolution (upstream: 4).
        reduction: channels by hidden channels of the attention over kernels (upstream: 16).
        attention: "softmax" (upstream), "sigmoid", or a name given to `register_attention`.
        temperature: of the attention, above 0; kept up to date by a TemperatureCallback.
        dynamic_layers: names of the convolutions that are dynamic, within the bare model, with * and ? as in file
            names ("encoder.stages.3.*"); None for the family's own choice, an empty list for none.
        fused: whether batch norms are folded into the convolutions, for inference; see `fuse`.
    """

    seam: ClassVar[Convolutions]
    copies = "kernels"

    num_kernels: int = 4
    reduction: int = 16
    attention: str = "softmax"
    temperature: float | int = 1.0
    dynamic_layers: list[str] | None = None
    fused: bool = False

    def _check_ranges(self) -> None:
        super()._check_ranges()
        for name in ("num_kernels", "reduction", "num_channels"):
            self._check(getattr(self, name) >= 1, name, "at least 1")
        attention_named(self.attention)
        check_temperature(self.temperature)

    def kernel_options(self) -> dict[str, object]:
        """What PADDynamicConv2d is built with, beside what nn.Conv2d takes."""
        return {name: getattr(self, name) for name in ("num_kernels", "reduction", "attention", "temperature")}

    def to_dense(self) -> PreTrainedConfig:
        """The configuration of the stock model. Raises PADNetError if it cannot be equal to this one."""
        if self.fused:
            raise PADNetError(
                f"transformers' {self.dense_class.model_type} has batch norms, but they are folded into the "
                "convolutions of this model, which has fused=True: no stock model is equal to it."
            )
        return super().to_dense()
