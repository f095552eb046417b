"""What differs between the versions of transformers that the package runs on, from 5.19 to 5.23.

Nothing else asks for a version. docs/transformers.md lists what the package uses of transformers beyond its interface.
"""

import transformers
from transformers import PreTrainedModel
from transformers.utils.output_capturing import _CAN_RECORD_REGISTRY

from padnet_hf.errors import PADNetError

try:
    from transformers.distributed.expert_parallel import ExpertParallelLayer
    from transformers.distributed.parallel_utils import ALL_PARALLEL_STYLES, replace_layer_number_by_wildcard
except ModuleNotFoundError:  # 5.19 has both in another form, without a style of a model's own for its experts
    ExpertParallelLayer, ALL_PARALLEL_STYLES, replace_layer_number_by_wildcard = object, {}, str

_IS_RENAMED = hasattr(PreTrainedModel, "activation_checkpointing_enable")
CHECKPOINTING = "activation_checkpointing" if _IS_RENAMED else "gradient_checkpointing"
"""What options and methods that compute activations again in the backward pass are called."""

HAS_PARALLEL_STYLES = ExpertParallelLayer is not object
"""Whether a model can give transformers its own style of spreading experts over processes."""


def check_parallel_styles() -> None:
    """Raise PADNetError if this version of transformers cannot spread PAD models over processes."""
    if not HAS_PARALLEL_STYLES:
        raise PADNetError(
            f"transformers {transformers.__version__} cannot spread the experts of PAD models over processes, so that "
            "they take no DistributedConfig: install transformers 5.23, or leave it out."
        )


def register_recording(model: PreTrainedModel) -> None:
    """Tell transformers what a model whose class has changed can record of its inner outputs."""
    _CAN_RECORD_REGISTRY.update({str(type(model)): model._can_record_outputs})  # 5.19 cannot take the model for a key
