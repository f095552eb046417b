"""The public names and where they come from: for type checkers, and for __init__.py."""

from .adapters.lora import lora_config
from .adapters.sparse import AdapterSparsity, restore_masks, sparsify_adapter
from .errors import PADNetError
from .layers.dynamic_conv import PADDynamicConv2d
from .layers.kernel_attention import register_attention
from .method import PADWeight, PartitionConfig, PartitionReport, partition, register_criterion
from .models.pad_bert import (
    PADBertConfig,
    PADBertForMaskedLM,
    PADBertForMultipleChoice,
    PADBertForQuestionAnswering,
    PADBertForSequenceClassification,
    PADBertForTokenClassification,
    PADBertModel,
)
from .models.pad_resnet import (
    PADResNetBackbone,
    PADResNetConfig,
    PADResNetForImageClassification,
    PADResNetModel,
)
from .training.calibration import CalibrationBatches
from .training.callbacks import IMPCallback, TemperatureCallback
from .training.trainer import PADTrainer
from .version import __version__

__all__ = [
    "AdapterSparsity",
    "CalibrationBatches",
    "IMPCallback",
    "PADBertConfig",
    "PADBertForMaskedLM",
    "PADBertForMultipleChoice",
    "PADBertForQuestionAnswering",
    "PADBertForSequenceClassification",
    "PADBertForTokenClassification",
    "PADBertModel",
    "PADDynamicConv2d",
    "PADNetError",
    "PADResNetBackbone",
    "PADResNetConfig",
    "PADResNetForImageClassification",
    "PADResNetModel",
    "PADTrainer",
    "PADWeight",
    "PartitionConfig",
    "PartitionReport",
    "TemperatureCallback",
    "__version__",
    "lora_config",
    "partition",
    "register_attention",
    "register_criterion",
    "restore_masks",
    "sparsify_adapter",
]
