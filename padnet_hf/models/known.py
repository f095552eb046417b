"""The families that come with the package, by name: read before any of their code, or transformers, is imported."""

KNOWN = {
    "albert": "PADAlbert",
    "bert": "PADBert",
    "camembert": "PADCamembert",
    "deberta-v2": "PADDebertaV2",
    "distilbert": "PADDistilBert",
    "electra": "PADElectra",
    "llama": "PADLlama",
    "mistral": "PADMistral",
    "mixtral": "PADMixtral",
    "mobilenet_v2": "PADMobileNetV2",
    "modernbert": "PADModernBert",
    "olmoe": "PADOlmoe",
    "qwen2": "PADQwen2",
    "qwen3": "PADQwen3",
    "qwen3_moe": "PADQwen3Moe",
    "resnet": "PADResNet",
    "roberta": "PADRoberta",
    "vit": "PADViT",
    "xlm-roberta": "PADXLMRoberta",
}
"""Model type of the dense model -> how the names of its PAD classes begin."""


def module_of(model_type: str) -> str:
    """The module that declares the family of dense models of this type."""
    return f"padnet_hf.models.families.{model_type.replace('-', '_')}"


def pad_type(model_type: str) -> str:
    """The model type of its PAD models."""
    return f"pad_{model_type}"
