"""Partially dynamic networks (PAD-Net, ACL 2023) for Hugging Face Transformers.

Importing the package registers its models with transformers' Auto classes.
"""

from padnet_hf.errors import PADNetError
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
from padnet_hf.partition import PADWeight, PartitionConfig, PartitionReport, partition, register_criterion
from padnet_hf.training.calibration import CalibrationBatches
from padnet_hf.training.callbacks import IMPCallback
from padnet_hf.version import __version__

_register()

__all__ = [
    "CalibrationBatches",
    "IMPCallback",
    "PADBertConfig",
    "PADBertForMaskedLM",
    "PADBertForMultipleChoice",
    "PADBertForQuestionAnswering",
    "PADBertForSequenceClassification",
    "PADBertForTokenClassification",
    "PADBertModel",
    "PADNetError",
    "PADWeight",
    "PartitionConfig",
    "PartitionReport",
    "__version__",
    "partition",
    "register_criterion",
]
