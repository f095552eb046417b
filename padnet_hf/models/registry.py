"""The families: what PAD models there are, for everything that asks by name or model type."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import torch
import transformers
from transformers import AutoConfig, AutoImageProcessor, AutoTokenizer, BaseImageProcessor, PreTrainedConfig
from transformers.models.auto.image_processing_auto import IMAGE_PROCESSOR_MAPPING_NAMES
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
from transformers.models.auto.tokenization_auto import TOKENIZER_MAPPING

from padnet_hf.errors import PADNetError
from padnet_hf.method.layer import pad_layers
from padnet_hf.models.known import KNOWN, OTHER_LAYOUTS, module_of, pad_type
from padnet_hf.models.pad_config import PADConfigMixin
from padnet_hf.models.pad_model import PADModelMixin

_FAMILIES: dict[str, type[PADConfigMixin]] = {}
_HEADS = ("AutoModelForSequenceClassification", "AutoModelForImageClassification")


def register_family(config: type[PADConfigMixin], classes: Mapping[str, Any]) -> None:
    """Make a family known: to transformers' Auto classes, `padnet`, the scripts and all the rest of the package.

    A second time changes nothing.

    Args:
        config: with `model_type`, `dense_class` and `seam`; its name ends in Config.
        classes: by name, `globals()` for instance; those count that are PAD models and whose names begin as config's.
            The bare model must be there; other names go on as transformers' do: for PADBertConfig PADBertModel,
            PADBertForSequenceClassification, ...

    Raises PADNetError for a name that goes on otherwise, if there is no bare model, or if the seam does not fit it.
    """
    prefix = config.__name__.removesuffix("Config")
    config.models = {_auto_class(name.removeprefix(prefix)): model for name, model in _models(classes, prefix)}
    wrong = [auto_class for auto_class in config.models if not hasattr(transformers, auto_class)]
    if wrong or "AutoModel" not in config.models:
        found = ", ".join(model.__name__ for model in config.models.values())
        raise PADNetError(
            f"the family of {config.__name__} has the classes {found or 'none'}, but needs {prefix}Model, and all "
            f"others must be named as {prefix}ForSequenceClassification is."
        )
    config.auto_classes = {"AutoConfig": config.__name__} | {auto: m.__name__ for auto, m in config.models.items()}
    is_text = config.models["AutoModel"].main_input_name == "input_ids"
    config.processing_class = "AutoTokenizer" if is_text else "AutoImageProcessor"
    for model in config.models.values():
        model.config_class = config
    if config.dense_class.model_type not in KNOWN:
        check_family(config())
    _FAMILIES[config.dense_class.model_type] = config
    AutoConfig.register(config.model_type, config, exist_ok=True)
    for auto_class, model in config.models.items():
        getattr(transformers, auto_class).register(config, model, exist_ok=True)
    if "AutoModelForCausalLM" in config.models:  # the Trainer looks here whose smoothed labels are of the next token
        MODEL_FOR_CAUSAL_LM_MAPPING_NAMES[config.model_type] = config.models["AutoModelForCausalLM"].__name__
    (_register_tokenizer if is_text else _register_processor)(config)


def _models(classes: Mapping[str, Any], prefix: str) -> list[tuple[str, type[PADModelMixin]]]:
    found = ((n, c) for n, c in classes.items() if n.startswith(prefix) and isinstance(c, type))
    return [(name, model) for name, model in found if issubclass(model, PADModelMixin)]


def _auto_class(ending: str) -> str:
    """Model -> AutoModel, Backbone -> AutoBackbone, ForSequenceClassification -> AutoModelForSequenceClassification."""
    return f"Auto{ending}" if ending in ("Model", "Backbone") else f"AutoModel{ending}"


def _register_tokenizer(config: type[PADConfigMixin]) -> None:
    found = TOKENIZER_MAPPING.get(config.dense_class, None)
    if found is not None:
        AutoTokenizer.register(config, tokenizer_class=found, exist_ok=True)


def _register_processor(config: type[PADConfigMixin]) -> None:
    classes = {"pil": image_processor_class(config.model_type)}  # the other variant needs torchvision
    AutoImageProcessor.register(config, image_processor_classes=classes, exist_ok=True)


def image_processor_class(model_type: str) -> type[BaseImageProcessor]:
    """What prepares images for the dense and PAD models of this type. Raises PADNetError if there is nothing."""
    dense = family_of(model_type).dense_class.model_type
    found = IMAGE_PROCESSOR_MAPPING_NAMES.get(dense, {})
    if "pil" not in found:
        raise PADNetError(f"transformers has no image processor for models of type {dense!r}: pass one of your own.")
    return getattr(transformers, found["pil"])


def families() -> Mapping[str, type[PADConfigMixin]]:
    """Model type of the dense model -> configuration of its family, those of the package first; all are imported."""
    known = {dense: family_of(dense) for dense in KNOWN}
    return known | _FAMILIES


def family_of(model_type: str) -> type[PADConfigMixin]:
    """The family of dense or PAD models of this type. Raises PADNetError if there is none."""
    for dense in KNOWN:
        if model_type in (dense, pad_type(dense)):
            import_module(module_of(dense))  # registers itself
    for dense, config in _FAMILIES.items():
        if model_type in (dense, config.model_type):
            return config
    reason = f": its experts {OTHER_LAYOUTS[model_type]}" if model_type in OTHER_LAYOUTS else ""
    raise PADNetError(
        f"the model type {model_type!r} has no PAD model{reason}; dense models of type "
        f"{', '.join(map(repr, known_types()))} have. docs/families.md shows how to add a family of your own."
    )


def known_types() -> list[str]:
    """Model types of dense models that have PAD models."""
    return sorted({*KNOWN, *_FAMILIES})


def has_family(model_type: str) -> bool:
    """Whether dense or PAD models of this type have a family."""
    try:
        family_of(model_type)
    except PADNetError:
        return False
    return True


def pad_class_for(dense: PreTrainedConfig, *, classifier: bool = False) -> type[PADModelMixin]:
    """The PAD model that a dense checkpoint with this configuration becomes.

    A classifier if asked for; the counterpart of its own class; or a bare model if that has none.

    Raises PADNetError for a family that has none.
    """
    models = family_of(dense.model_type).models
    if classifier:
        found = next((models[auto_class] for auto_class in _HEADS if auto_class in models), None)
        if found is None:
            raise PADNetError(f"transformers has no classifier of type {dense.model_type!r}: choose another model.")
        return found
    counterparts = {pad_class.dense_class.__name__: pad_class for pad_class in models.values()}
    return counterparts.get((dense.architectures or [""])[0], models["AutoModel"])


def check_family(config: PADConfigMixin) -> None:
    """Raise PADNetError if the family's declaration does not fit its stock model, built and run on the meta device."""
    with torch.device("meta"):
        model = type(config).models["AutoModel"](config)
    called = model.count_work()
    if called and called.keys() != pad_layers(model).keys():
        idle = sorted(pad_layers(model).keys() - called.keys())
        raise PADNetError(
            f"{type(model).__name__} never calls {idle[0]}: the seam of {type(config).__name__} is not what the stock "
            "forward uses. Correct the declaration."
        )
