"""Partially dynamic networks (PAD-Net, ACL 2023) for Hugging Face Transformers.

Importing the package registers its models with transformers' Auto classes.
"""

from padnet_hf.adapters.lora import lora_config
from padnet_hf.adapters.sparse import AdapterSparsity, restore_masks, sparsify_adapter
from padnet_hf.errors import PADNetError
from padnet_hf.layers.dynamic_conv import PADDynamicConv2d
from padnet_hf.layers.kernel_attention import register_attention
from padnet_hf.models.auto import register as _register
from padnet_hf.models.pad_bert import (
    PADBertConfig,
    PADBertForMaskedLM,
    PADBertForMultipleChoice,
    PADBertForQuestionAnswering,
    PADBertForSequenceClassification,
    PADBertForTokenClassification,
    PADBertModel,
)
from padnet_hf.models.pad_resnet import (
    PADResNetBackbone,
    PADResNetConfig,
    PADResNetForImageClassification,
    PADResNetModel,
)
from padnet_hf.partition import PADWeight, PartitionConfig, PartitionReport, partition, register_criterion
from padnet_hf.training.calibration import CalibrationBatches
from padnet_hf.training.callbacks import IMPCallback, TemperatureCallback
from padnet_hf.training.trainer import PADTrainer
from padnet_hf.version import __version__

_register()

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
