"""The public names and where they come from: for type checkers, and for __init__.py."""

from .adapters.lora import lora_config
from .adapters.sparse import AdapterSparsity, restore_masks, sparsify_adapter
from .errors import PADNetError
from .export.stock import export_stock, to_stock
from .layers.dynamic_conv import PADDynamicConv2d
from .layers.feed_forward import PADFeedForward
from .layers.kernel_attention import register_attention
from .layers.routed_experts import PADRoutedExperts
from .method import PADWeight, PartitionConfig, PartitionReport, partition, register_criterion
from .method.relatedness import relatedness
from .models.experts_seam import Experts
from .models.families.albert import (
    PADAlbertConfig,
    PADAlbertForMaskedLM,
    PADAlbertForMultipleChoice,
    PADAlbertForQuestionAnswering,
    PADAlbertForSequenceClassification,
    PADAlbertForTokenClassification,
    PADAlbertModel,
)
from .models.families.bert import (
    PADBertConfig,
    PADBertForMaskedLM,
    PADBertForMultipleChoice,
    PADBertForQuestionAnswering,
    PADBertForSequenceClassification,
    PADBertForTokenClassification,
    PADBertModel,
)
from .models.families.camembert import (
    PADCamembertConfig,
    PADCamembertForMaskedLM,
    PADCamembertForMultipleChoice,
    PADCamembertForQuestionAnswering,
    PADCamembertForSequenceClassification,
    PADCamembertForTokenClassification,
    PADCamembertModel,
)
from .models.families.deberta_v2 import (
    PADDebertaV2Config,
    PADDebertaV2ForMaskedLM,
    PADDebertaV2ForMultipleChoice,
    PADDebertaV2ForQuestionAnswering,
    PADDebertaV2ForSequenceClassification,
    PADDebertaV2ForTokenClassification,
    PADDebertaV2Model,
)
from .models.families.distilbert import (
    PADDistilBertConfig,
    PADDistilBertForMaskedLM,
    PADDistilBertForMultipleChoice,
    PADDistilBertForQuestionAnswering,
    PADDistilBertForSequenceClassification,
    PADDistilBertForTokenClassification,
    PADDistilBertModel,
)
from .models.families.electra import (
    PADElectraConfig,
    PADElectraForMaskedLM,
    PADElectraForMultipleChoice,
    PADElectraForQuestionAnswering,
    PADElectraForSequenceClassification,
    PADElectraForTokenClassification,
    PADElectraModel,
)
from .models.families.llama import (
    PADLlamaConfig,
    PADLlamaForCausalLM,
    PADLlamaForQuestionAnswering,
    PADLlamaForSequenceClassification,
    PADLlamaForTokenClassification,
    PADLlamaModel,
)
from .models.families.mistral import (
    PADMistralConfig,
    PADMistralForCausalLM,
    PADMistralForQuestionAnswering,
    PADMistralForSequenceClassification,
    PADMistralForTokenClassification,
    PADMistralModel,
)
from .models.families.mixtral import (
    PADMixtralConfig,
    PADMixtralForCausalLM,
    PADMixtralForQuestionAnswering,
    PADMixtralForSequenceClassification,
    PADMixtralForTokenClassification,
    PADMixtralModel,
)
from .models.families.mobilenet_v2 import (
    PADMobileNetV2Config,
    PADMobileNetV2ForImageClassification,
    PADMobileNetV2Model,
)
from .models.families.modernbert import (
    PADModernBertConfig,
    PADModernBertForMaskedLM,
    PADModernBertForMultipleChoice,
    PADModernBertForQuestionAnswering,
    PADModernBertForSequenceClassification,
    PADModernBertForTokenClassification,
    PADModernBertModel,
)
from .models.families.olmoe import (
    PADOlmoeConfig,
    PADOlmoeForCausalLM,
    PADOlmoeModel,
)
from .models.families.qwen2 import (
    PADQwen2Config,
    PADQwen2ForCausalLM,
    PADQwen2ForQuestionAnswering,
    PADQwen2ForSequenceClassification,
    PADQwen2ForTokenClassification,
    PADQwen2Model,
)
from .models.families.qwen3 import (
    PADQwen3Config,
    PADQwen3ForCausalLM,
    PADQwen3ForQuestionAnswering,
    PADQwen3ForSequenceClassification,
    PADQwen3ForTokenClassification,
    PADQwen3Model,
)
from .models.families.qwen3_moe import (
    PADQwen3MoeConfig,
    PADQwen3MoeForCausalLM,
    PADQwen3MoeForQuestionAnswering,
    PADQwen3MoeForSequenceClassification,
    PADQwen3MoeForTokenClassification,
    PADQwen3MoeModel,
)
from .models.families.resnet import (
    PADResNetBackbone,
    PADResNetConfig,
    PADResNetForImageClassification,
    PADResNetModel,
)
from .models.families.roberta import (
    PADRobertaConfig,
    PADRobertaForMaskedLM,
    PADRobertaForMultipleChoice,
    PADRobertaForQuestionAnswering,
    PADRobertaForSequenceClassification,
    PADRobertaForTokenClassification,
    PADRobertaModel,
)
from .models.families.vit import (
    PADViTConfig,
    PADViTForImageClassification,
    PADViTModel,
)
from .models.families.xlm_roberta import (
    PADXLMRobertaConfig,
    PADXLMRobertaForMaskedLM,
    PADXLMRobertaForMultipleChoice,
    PADXLMRobertaForQuestionAnswering,
    PADXLMRobertaForSequenceClassification,
    PADXLMRobertaForTokenClassification,
    PADXLMRobertaModel,
)
from .models.kernels_config import PADKernelsConfig
from .models.kernels_model import PADKernelsMixin
from .models.mixture_config import PADMixtureConfig
from .models.mixture_model import PADMixtureMixin
from .models.moe_config import PADMoEConfig
from .models.moe_model import PADMoEMixin
from .models.outputs import RoutedOutput
from .models.registry import register_family
from .models.seams import Convolutions, FeedForward, make_dynamic
from .training.calibration import CalibrationBatches
from .training.callbacks import IMPCallback, TemperatureCallback
from .training.trainer import PADTrainer
from .version import __version__

__all__ = [
    "AdapterSparsity",
    "CalibrationBatches",
    "Convolutions",
    "Experts",
    "FeedForward",
    "IMPCallback",
    "PADAlbertConfig",
    "PADAlbertForMaskedLM",
    "PADAlbertForMultipleChoice",
    "PADAlbertForQuestionAnswering",
    "PADAlbertForSequenceClassification",
    "PADAlbertForTokenClassification",
    "PADAlbertModel",
    "PADBertConfig",
    "PADBertForMaskedLM",
    "PADBertForMultipleChoice",
    "PADBertForQuestionAnswering",
    "PADBertForSequenceClassification",
    "PADBertForTokenClassification",
    "PADBertModel",
    "PADCamembertConfig",
    "PADCamembertForMaskedLM",
    "PADCamembertForMultipleChoice",
    "PADCamembertForQuestionAnswering",
    "PADCamembertForSequenceClassification",
    "PADCamembertForTokenClassification",
    "PADCamembertModel",
    "PADDebertaV2Config",
    "PADDebertaV2ForMaskedLM",
    "PADDebertaV2ForMultipleChoice",
    "PADDebertaV2ForQuestionAnswering",
    "PADDebertaV2ForSequenceClassification",
    "PADDebertaV2ForTokenClassification",
    "PADDebertaV2Model",
    "PADDistilBertConfig",
    "PADDistilBertForMaskedLM",
    "PADDistilBertForMultipleChoice",
    "PADDistilBertForQuestionAnswering",
    "PADDistilBertForSequenceClassification",
    "PADDistilBertForTokenClassification",
    "PADDistilBertModel",
    "PADDynamicConv2d",
    "PADElectraConfig",
    "PADElectraForMaskedLM",
    "PADElectraForMultipleChoice",
    "PADElectraForQuestionAnswering",
    "PADElectraForSequenceClassification",
    "PADElectraForTokenClassification",
    "PADElectraModel",
    "PADFeedForward",
    "PADKernelsConfig",
    "PADKernelsMixin",
    "PADLlamaConfig",
    "PADLlamaForCausalLM",
    "PADLlamaForQuestionAnswering",
    "PADLlamaForSequenceClassification",
    "PADLlamaForTokenClassification",
    "PADLlamaModel",
    "PADMistralConfig",
    "PADMistralForCausalLM",
    "PADMistralForQuestionAnswering",
    "PADMistralForSequenceClassification",
    "PADMistralForTokenClassification",
    "PADMistralModel",
    "PADMixtralConfig",
    "PADMixtralForCausalLM",
    "PADMixtralForQuestionAnswering",
    "PADMixtralForSequenceClassification",
    "PADMixtralForTokenClassification",
    "PADMixtralModel",
    "PADMixtureConfig",
    "PADMixtureMixin",
    "PADMoEConfig",
    "PADMoEMixin",
    "PADMobileNetV2Config",
    "PADMobileNetV2ForImageClassification",
    "PADMobileNetV2Model",
    "PADModernBertConfig",
    "PADModernBertForMaskedLM",
    "PADModernBertForMultipleChoice",
    "PADModernBertForQuestionAnswering",
    "PADModernBertForSequenceClassification",
    "PADModernBertForTokenClassification",
    "PADModernBertModel",
    "PADNetError",
    "PADOlmoeConfig",
    "PADOlmoeForCausalLM",
    "PADOlmoeModel",
    "PADQwen2Config",
    "PADQwen2ForCausalLM",
    "PADQwen2ForQuestionAnswering",
    "PADQwen2ForSequenceClassification",
    "PADQwen2ForTokenClassification",
    "PADQwen2Model",
    "PADQwen3Config",
    "PADQwen3ForCausalLM",
    "PADQwen3ForQuestionAnswering",
    "PADQwen3ForSequenceClassification",
    "PADQwen3ForTokenClassification",
    "PADQwen3Model",
    "PADQwen3MoeConfig",
    "PADQwen3MoeForCausalLM",
    "PADQwen3MoeForQuestionAnswering",
    "PADQwen3MoeForSequenceClassification",
    "PADQwen3MoeForTokenClassification",
    "PADQwen3MoeModel",
    "PADResNetBackbone",
    "PADResNetConfig",
    "PADResNetForImageClassification",
    "PADResNetModel",
    "PADRobertaConfig",
    "PADRobertaForMaskedLM",
    "PADRobertaForMultipleChoice",
    "PADRobertaForQuestionAnswering",
    "PADRobertaForSequenceClassification",
    "PADRobertaForTokenClassification",
    "PADRobertaModel",
    "PADRoutedExperts",
    "PADTrainer",
    "PADViTConfig",
    "PADViTForImageClassification",
    "PADViTModel",
    "PADWeight",
    "PADXLMRobertaConfig",
    "PADXLMRobertaForMaskedLM",
    "PADXLMRobertaForMultipleChoice",
    "PADXLMRobertaForQuestionAnswering",
    "PADXLMRobertaForSequenceClassification",
    "PADXLMRobertaForTokenClassification",
    "PADXLMRobertaModel",
    "PartitionConfig",
    "PartitionReport",
    "RoutedOutput",
    "TemperatureCallback",
    "__version__",
    "export_stock",
    "lora_config",
    "make_dynamic",
    "partition",
    "register_attention",
    "register_criterion",
    "register_family",
    "relatedness",
    "restore_masks",
    "sparsify_adapter",
    "to_stock",
]
