"""The plugin by which vLLM serves PAD models as they are: the package's entry point in vllm.general_plugins.

vLLM calls `register` in each of its processes, before it reads any configuration, perhaps more than once.
"""

from padnet_hf.models.registry import families

_SERVED = {
    "AutoModel": ("PADEmbedder", "PADCausalEmbedder"),
    "AutoModelForCausalLM": ("PADCausalLM", "PADCausalLM"),
    "AutoModelForSequenceClassification": ("PADSequenceClassifier", "PADCausalSequenceClassifier"),
    "AutoModelForTokenClassification": ("PADTokenClassifier", "PADCausalTokenClassifier"),
}
"""Auto class -> what serves an encoder's, and a language model's."""


def register() -> None:
    """Make PAD models known to vLLM, and to transformers' Auto classes, by which vLLM reads configurations."""
    from vllm import ModelRegistry

    for config in families().values():
        is_causal = "AutoModelForCausalLM" in config.models
        for auto_class, model in config.models.items():
            is_text = model.main_input_name == "input_ids"
            served = _SERVED[auto_class][is_causal] if is_text and auto_class in _SERVED else "PADRefused"
            ModelRegistry.register_model(model.__name__, f"padnet_hf.serving.vllm_models:{served}")
