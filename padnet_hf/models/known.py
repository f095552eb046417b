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

OTHER_LAYOUTS = {
    "aria_text": "are transposed",
    "dbrx": "are not behind transformers' interface for experts",
    "gpt_oss": "are transposed, with gates and up projection in turn, biases and a clamped gate",
    "jetmoe": "are not behind transformers' interface for experts",
    "llama4_text": "are not behind transformers' interface for experts",
    "nemotron_h": "have no gates",
}
"""Trained mixtures that no seam fits: model type -> what is other about their experts."""


def module_of(model_type: str) -> str:
    """The module that declares the family of dense models of this type."""
    return f"padnet_hf.models.families.{model_type.replace('-', '_')}"


def pad_type(model_type: str) -> str:
    """The model type of its PAD models."""
    return f"pad_{model_type}"
