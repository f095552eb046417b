"""What all models with experts share: how the experts are computed, and computed again in a backward pass."""

from typing import Any

from transformers import PreTrainedConfig

from padnet_hf.errors import PADNetError
from padnet_hf.layers.experts import BY_DEVICE, PADExperts
from padnet_hf.models.pad_model import PADModelMixin


class PADExpertsMixin(PADModelMixin):
    """Base class of PAD models with experts, whoever trained them."""

    def __init__(self, config: PreTrainedConfig, *args: Any, **kwargs: Any) -> None:
        asked = config._experts_implementation
        config._experts_implementation_internal = BY_DEVICE  # the one that the stock bare model inside takes, too
        super().__init__(config, *args, **kwargs)
        self.set_experts_implementation(asked or BY_DEVICE)

    @classmethod
    def _can_set_experts_implementation(cls) -> bool:
        return True  # transformers searches the source for its own decorator

    def get_correct_experts_implementation(self, requested_experts: str | None) -> str:
        """The implementation asked for, or the default: "pad".

        Raises PADNetError for "grouped_mm" with sizes whose rows are not multiples of 16 bytes in float32.
        """
        for module in self.modules() if requested_experts == "grouped_mm" else ():
            if isinstance(module, PADExperts) and any(size % 4 for size in module.weights.down.shape):
                raise PADNetError(
                    "experts_implementation='grouped_mm' needs hidden and inner sizes of the experts to be multiples "
                    f"of 4 (8 in half precision), but they are {tuple(module.weights.down.shape)}; use "
                    "experts_implementation='eager'."
                )
        return super().get_correct_experts_implementation(requested_experts or BY_DEVICE)

    def set_experts_implementation(self, experts_implementation: str | dict[str, str]) -> None:
        """transformers' set_experts_implementation; the layers are told too."""
        super().set_experts_implementation(experts_implementation)
        for module in self.modules():
            if isinstance(module, PADExperts):
                module.implementation = self.config._experts_implementation

    def _set_gradient_checkpointing(self, enable: bool = True, **kwargs: Any) -> None:
        """transformers' seam below its methods of either name."""
        super()._set_gradient_checkpointing(enable, **kwargs)
        for module in self.modules():
            if isinstance(module, PADExperts):  # checkpointing frees built weights until the backward pass by itself
                module.rebuild_in_backward = not enable
