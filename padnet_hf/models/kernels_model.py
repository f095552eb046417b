"""Models whose convolutions are dynamic."""

from typing import Self

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.initialization import copy_, zeros_

from padnet_hf.errors import PADNetError
from padnet_hf.layers.kernel_attention import PairedLinear, set_temperature
from padnet_hf.models.fusing import drop_norms, fold_norms
from padnet_hf.models.kernels_config import PADKernelsConfig
from padnet_hf.models.pad_model import PADModelMixin


class PADKernelsMixin(PADModelMixin):
    """Base class of PAD models with dynamic convolutions, before the stock class."""

    config: PADKernelsConfig

    def post_init(self) -> None:
        """transformers' last step of building a model; a convolution is not to be divided over devices."""
        super().post_init()
        self._no_split_modules.add("PADDynamicConv2d")

    def _put_in(self, base: PreTrainedModel) -> None:
        self.config.seam.replace(base, self.config.dynamic_layers, **self.config.kernel_options())
        if self.config.fused:
            drop_norms(base)

    def check_before_partition(self) -> None:
        """Raise PADNetError if batch norms are folded: their shifts are static, and nothing can be trained well."""
        if self.config.fused:
            raise PADNetError(
                f"the batch norms of this {type(self).__name__} are folded into its convolutions (fuse()), so that it "
                "cannot be partitioned or trained: partition the model before it is fused, and fuse() that."
            )

    def set_temperature(self, temperature: float) -> None:
        """Set the temperature of every attention over kernels; it is saved with the model. PADNetError unless > 0."""
        set_temperature(self, temperature)
        self.config.temperature = float(temperature)

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

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, PairedLinear):
            copy_(module.weight, module.paired(module.weight))
            zeros_(module.bias)
