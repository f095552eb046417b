"""Finds the PAD model for a dense one."""

from transformers import PreTrainedConfig

from padnet_hf.errors import PADNetError
from padnet_hf.models import pad_bert, pad_resnet
from padnet_hf.models.pad_model import PADModelMixin

_FAMILIES = {pad_bert.PADBertConfig: pad_bert, pad_resnet.PADResNetConfig: pad_resnet}
_CLASSIFIERS = ("AutoModelForSequenceClassification", "AutoModelForImageClassification")


def pad_class_for(dense: PreTrainedConfig, *, classifier: bool = False) -> type[PADModelMixin]:
    """The PAD model that a dense checkpoint with this configuration becomes.

    A classifier if asked for; the counterpart of its own class; or a bare model if that has none.

    Raises PADNetError for a family that has none.
    """
    for config, family in _FAMILIES.items():
        if config.dense_class.model_type == dense.model_type:
            classes = {
                auto: getattr(family, name) for auto, name in config.auto_classes.items() if auto != "AutoConfig"
            }
            counterparts = {pad_class.dense_class.__name__: pad_class for pad_class in classes.values()}
            if classifier:
                return next(classes[auto_class] for auto_class in _CLASSIFIERS if auto_class in classes)
            return counterparts.get((dense.architectures or [""])[0], classes["AutoModel"])
    known = ", ".join(repr(config.dense_class.model_type) for config in _FAMILIES)
    raise PADNetError(f"the model type {dense.model_type!r} has no PAD model; dense models of type {known} have.")
