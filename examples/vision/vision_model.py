"""The network asked for, static, fully dynamic or to be partitioned, and its image processor."""

from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForImageClassification,
    BaseImageProcessor,
    PreTrainedConfig,
    PreTrainedModel,
)

from image_split import ImageData
from padnet_hf import PADNetError, PADResNetConfig, PADResNetForImageClassification, PartitionReport
from padnet_hf.jobs.labels import class_fields, known_labels
from padnet_hf.jobs.layer_options import layer_fields
from padnet_hf.jobs.loading import load_as_asked
from padnet_hf.jobs.variants import needs_upcycling
from padnet_hf.models.pad_config import PADConfigMixin
from padnet_hf.models.registry import family_of, image_processor_class, pad_class_for
from pixels import resize_to, side_of
from vision_arguments import ModelArguments, PADArguments, shape_options, temperature_options

_HEAD = "AutoModelForImageClassification"
_REMEDY = (
    "--model_name_or_path FOLDER reads a local folder with config.json, model.safetensors and "
    "preprocessor_config.json; without the option a new network is trained"
)


def load_config(source: str, model: ModelArguments) -> PreTrainedConfig:
    """The configuration of the model at `source`. Raises PADNetError if there is none."""
    return load_as_asked(AutoConfig.from_pretrained, source, model, _REMEDY)


def load_processor(source: str, model: ModelArguments, config: PreTrainedConfig) -> BaseImageProcessor:
    """The image processor that belongs to the model, for --image_size if given. Raises PADNetError if there is none."""
    processor = load_as_asked(image_processor_class(config.model_type).from_pretrained, source, model, _REMEDY)
    if model.image_size:
        resize_to(processor, model.image_size)
    if hasattr(config, "patch_size") and side_of(processor) != config.image_size:  # it has a place for every patch
        raise PADNetError(
            f"images are resized to {side_of(processor)}, but {source!r} takes {config.image_size} alone: leave "
            "--image_size out, or correct preprocessor_config.json"
        )
    return processor


def variant_of(config: PreTrainedConfig) -> str:
    """`static`, `fully dynamic` or `partitioned`: what the model is, whatever was asked for."""
    if not isinstance(config, PADConfigMixin) or getattr(config, "dynamic_layers", None) == []:
        return "static"
    return "fully dynamic" if config.partition is None else "partitioned"


def check_model(config: PreTrainedConfig, source: str, pad: PADArguments, *, resuming: bool) -> None:
    """Raise PADNetError if the model cannot become what is asked for."""
    own, option = variant_of(config), "--use_pad" if pad.use_pad else "--use_dynamic"
    family = family_of(config.model_type)
    if _HEAD not in family.models:
        raise PADNetError(
            f"{source!r} is a model of type {config.model_type!r}, but this script takes models of images (resnet, "
            "mobilenet_v2, vit and their PAD models): choose one with --model_name_or_path, or leave the option out "
            "for a new network"
        )
    options = layer_fields(pad, family)
    _check_temperature(pad, family)
    given = {name: value for name, value in options.items() if getattr(pad, name) is not None}
    if not needs_upcycling(
        source, config, own=own, asked=pad.variant, plain="static", option=option, given=given, resuming=resuming
    ):
        return
    if isinstance(config, PADConfigMixin):
        raise PADNetError(
            f"{source!r} is a static PAD model, which {option} cannot make dynamic: start from a stock model, or "
            "from a new network"
        )
    family.from_dense(config, **options)


def _check_temperature(pad: PADArguments, family: type[PADConfigMixin]) -> None:
    given = temperature_options(pad)
    if given and family.copies != "kernels":
        raise PADNetError(
            f"--temperature_{next(iter(given))} has no effect on a model of type {family.dense_class.model_type!r}: "
            "only attention over kernels has a temperature; leave it out"
        )


def match_labels(data: ImageData, config: PreTrainedConfig) -> ImageData:
    """The data with the labels of a model that is not trained here; as it is if that knows none.

    Raises PADNetError for another label; a test split is left without labels instead.
    """
    own = known_labels(config)
    return data.with_known_labels(own) if own else data


def label_fields(data: ImageData, config: PreTrainedConfig | None, *, training: bool) -> dict[str, Any]:
    """num_labels, id2label, label2id and problem_type for the model's configuration (None: a new network).

    A model trained on the same labels keeps its own numbers for them, and one that is not trained here decides alone.
    Raises PADNetError if that one knows no labels, and if there is only one label.
    """
    own = () if config is None else known_labels(config)
    decides = bool(own) and not training
    names = own if decides or set(own) == set(data.label_names or ()) else data.label_names
    if not names:
        raise PADNetError(
            "the labels are not known: give training images, or with --model_name_or_path a model trained on them"
        )
    if len(names) < 2:
        raise PADNetError(f"{data.name} has only the label {names[0]!r}: a classification needs at least 2")
    return class_fields(names)


def new_config(model: ModelArguments, pad: PADArguments, side: int, fields: dict[str, Any]) -> PADResNetConfig:
    """The configuration of a new network for images of `side` x `side`. Raises PADNetError for values not allowed."""
    shape = shape_options(model)
    kernels = layer_fields(pad, PADResNetConfig) or {"dynamic_layers": []}
    return PADResNetConfig(**shape, embedding_size=shape["hidden_sizes"][0], image_size=side, **kernels, **fields)


def build_model(
    source: str | None, config: PreTrainedConfig, model: ModelArguments, pad: PADArguments, fields: dict[str, Any]
) -> PreTrainedModel:
    """The model, fully dynamic where a static one is to be upcycled. Seed before: what is new starts at random.

    Without `source` it is new, of this configuration. A stock model whose head is for another number of labels gets a
    new one.
    """
    if source is None:
        return PADResNetForImageClassification(config)
    is_stock = not isinstance(config, PADConfigMixin)
    if not is_stock and config.num_labels != fields["num_labels"]:
        raise PADNetError(
            f"{source!r} has a head for {config.num_labels} labels, but the data has {fields['num_labels']}: start "
            "from its stock model, or train a new one"
        )
    loader = AutoModelForImageClassification.from_pretrained
    built = load_as_asked(
        loader, source, model, _REMEDY, dtype=torch.float32, ignore_mismatched_sizes=is_stock, **fields
    )
    if is_stock and pad.variant != "static":
        pad_class = pad_class_for(config, classifier=True)
        built = pad_class.from_dense(built, **layer_fields(pad, pad_class.config_class))
    if pad.experts_implementation:
        built.set_experts_implementation(pad.experts_implementation)
    return built


def size_report(model: PreTrainedModel, side: int) -> PartitionReport:
    """Sizes of the model in its three forms, for images of `side` x `side`; a static one has those of the default."""
    if variant_of(model.config) != "static":
        return model.partition_report()
    pad_class = pad_class_for(model.config, classifier=True)
    family = pad_class.config_class
    if isinstance(model.config, PADConfigMixin):
        config = family.from_dict(model.config.to_dict() | {"dynamic_layers": None})
    else:
        config = family.from_dense(model.config, **({"image_size": side} if family.copies == "kernels" else {}))
    with torch.device("meta"):
        return pad_class(config).partition_report()
