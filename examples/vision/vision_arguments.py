"""What can be asked of run_image_classification.py: the options, their defaults and the checks that need no data."""

from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar, Literal

import torch
from transformers import TrainingArguments

from padnet_hf import PADNetError, PartitionConfig
from padnet_hf.jobs.command_line import option, parse_options
from padnet_hf.jobs.layer_options import EXPERTS, KERNELS, ExpertOptions, filled_in
from padnet_hf.jobs.partition_options import partition_config, partition_options
from padnet_hf.jobs.run_request import recorded_options as recorded
from padnet_hf.models.kernels_config import PADKernelsConfig
from padnet_hf.models.moe_config import PADMoEConfig

TRAINING_DEFAULTS = {
    "per_device_train_batch_size": 64,
    "per_device_eval_batch_size": 256,
    "learning_rate": 2e-3,
    "weight_decay": 0.01,
    "logging_steps": 50,
    "dataloader_pin_memory": torch.accelerator.is_available(),
}
"""Where this script's defaults differ from those of TrainingArguments."""

_SHAPE = ("hidden_sizes", "depths", "layer_type", "stem_kernel_size", "stem_stride", "stem_pool", "num_channels")
_TEMPERATURE = ("temperature_initial", "temperature_final", "temperature_epochs")
_SMALL_NETWORK = {
    "hidden_sizes": [32, 64, 128], "depths": [1, 1, 1], "layer_type": "basic", "stem_kernel_size": 3, "stem_stride": 2,
    "stem_pool": False, "num_channels": 3,
}  # fmt: skip


@dataclass
class ModelArguments:
    """Which model: a checkpoint, or a new one of the shape given."""

    model_name_or_path: str | None = option("Hub name or folder of a ResNet, MobileNetV2 or ViT (a new ResNet).")
    model_revision: str = option("Branch, tag or commit of the model on the Hub.", "main")
    cache_dir: str | None = option("Where downloads are kept.")
    image_size: int | None = option("Side of the square that images are resized to (the model's, or the data's).")
    hidden_sizes: list[int] | None = option("Channels of each stage of a new network (32 64 128).")
    depths: list[int] | None = option("Blocks of each stage of a new network (1 1 1).")
    layer_type: Literal["basic", "bottleneck"] | None = option("Blocks of a new network (basic).")
    stem_kernel_size: int | None = option("Kernel size of a new network's first convolution (3).")
    stem_stride: int | None = option("Stride of a new network's first convolution (2).")
    stem_pool: bool | None = option("Whether pooling follows a new network's first convolution (False).")
    num_channels: int | None = option("Channels of the images that a new network takes, 1 or 3 (3).")


@dataclass
class DataArguments:
    """Which images, and how they vary in training. Without any data: the embedded digits."""

    dataset_name: str | None = option("Data set on the Hub.")
    dataset_config_name: str | None = option("Configuration of the data set on the Hub.")
    data_dir: str | None = option("Local folder of parquet files named train*, validation*, test*.")
    train_dir: str | None = option("Your own training images, a subfolder per class.")
    validation_dir: str | None = option("Your own validation images, a subfolder per class.")
    test_dir: str | None = option("Your own images to predict, with or without subfolders.")
    image_column_name: str | None = option("Column of the images. Found by itself where it is clear.")
    label_column_name: str | None = option("Column of the labels. Found by itself where it is clear.")
    train_val_split: float | None = option("Share of the training images to hold out for validation.")
    max_train_samples: int | None = option("Use only so many training images, drawn always alike.")
    max_eval_samples: int | None = option("Use only so many validation images, drawn always alike.")
    max_predict_samples: int | None = option("Predict only so many test images, drawn always alike.")
    skip_unreadable: bool = option("Leave out images that cannot be read, instead of stopping.", False)
    convert_channels: bool = option("Convert images to the network's channels, instead of stopping.", False)
    crop_padding: int = option("Training shifts images by up to so many pixels; 0 for none.", 4)
    horizontal_flip: bool | None = option("Training mirrors every other image (True, for the digits False).")
    mixup_alpha: float = option("Training mixes pairs of images, with a share from Beta(alpha, alpha); 0: no.", 0.0)
    overwrite_output_dir: bool = option("Remove an earlier run from --output_dir first.", False)


@dataclass
class PADArguments(ExpertOptions):
    """Which network: static with neither --use_pad nor --use_dynamic. Options of experts are for transformers."""

    dynamic_ratio: float | None = option("Share of the parameters that stays dynamic, 0 to 1 (0.3).")
    use_dynamic: bool = option("Train a fully dynamic network (dynamic convolution, or experts).", False)
    num_kernels: int | None = option("Kernels E of each dynamic convolution (4).")
    reduction: int | None = option("Channels by hidden channels of the attention over kernels (16).")
    attention: str | None = option("Attention over kernels: softmax, sigmoid, or a registered one (softmax).")
    dynamic_layers: list[str] | None = option("Names of dynamic convolutions, with * and ? (all but the stem).")
    temperature_initial: float | None = option("Temperature of the attention at the start (31).")
    temperature_final: float | None = option("Temperature of the attention in the end (1).")
    temperature_epochs: float | None = option("Epochs in which it falls (10, but at most half of all).")

    plain: ClassVar[str] = "static"
    dynamic_option: ClassVar[str] = "use_dynamic"
    layer_options: ClassVar[tuple[str, ...]] = KERNELS + EXPERTS + _TEMPERATURE
    partition_defaults: ClassVar[dict[str, Any]] = {"dynamic_ratio": 0.3}


Arguments = tuple[ModelArguments, DataArguments, PADArguments, TrainingArguments]


def parse(argv: list[str] | None) -> Arguments:
    """Options of the command line (`sys.argv` for None). Raises PADNetError for any that does not exist or fit."""
    arguments = parse_options((ModelArguments, DataArguments, PADArguments, TrainingArguments), argv, TRAINING_DEFAULTS)
    _check(*arguments)
    return arguments


def _check(model: ModelArguments, data: DataArguments, pad: PADArguments, training: TrainingArguments) -> None:
    shape = [name for name in _SHAPE if getattr(model, name) is not None]
    if model.model_name_or_path and shape:
        raise PADNetError(
            f"--{shape[0]} is for a new network, but --model_name_or_path {model.model_name_or_path} has its shape "
            "already: leave one of them out"
        )
    if not model.model_name_or_path and not training.do_train and (training.do_eval or training.do_predict):
        raise PADNetError(
            "a new network that is not trained knows nothing: add --do_train, or give a trained one with "
            "--model_name_or_path"
        )
    for name, value, fits, allowed in (
        ("image_size", model.image_size, lambda size: size >= 8, "at least 8"),
        ("num_channels", model.num_channels, lambda count: count in (1, 3), "1 (grey) or 3 (RGB)"),
        ("crop_padding", data.crop_padding, lambda padding: padding >= 0, "at least 0"),
        ("mixup_alpha", data.mixup_alpha, lambda alpha: 0 <= alpha < float("inf"), "at least 0"),
        ("train_val_split", data.train_val_split, lambda share: 0 < share < 1, "between 0 and 1"),
        ("label_smoothing_factor", training.label_smoothing_factor, lambda share: 0 <= share < 1, "0 to below 1"),
    ):
        if value is not None and not fits(value):
            raise PADNetError(f"--{name} is {value}, but must be {allowed}: give such a number, or leave it out")


def asked_partition(model: ModelArguments, pad: PADArguments, seed: int) -> PartitionConfig | None:
    """The partition asked for, None without --use_pad; a new network's kernels differ, but by nothing they learned."""
    partition = partition_config(pad, seed)
    if partition is None or model.model_name_or_path:
        return partition
    return replace(partition, criterion=partition.criterion or "snip", static_values=partition.static_values or "mean")


def shape_options(model: ModelArguments) -> dict[str, Any]:
    """The fields of a new network's configuration, defaults filled in; empty where a checkpoint brings them."""
    if model.model_name_or_path:
        return {}
    given = {name: getattr(model, name) for name in _SHAPE if getattr(model, name) is not None}
    return _SMALL_NETWORK | given


def temperature_options(pad: PADArguments) -> dict[str, float]:
    """The arguments of TemperatureCallback that were given."""
    given = {name.removeprefix("temperature_"): getattr(pad, name) for name in _TEMPERATURE}
    return {name: value for name, value in given.items() if value is not None}


def recorded_options(arguments: Arguments, partition: PartitionConfig | None) -> dict[str, Any]:
    """Every option that decides the result, by name, defaults filled in; those of layers as they were given."""
    model, data, pad, training = arguments
    source = {name: getattr(model, name) for name in ("model_name_or_path", "model_revision", "image_size")}
    network: dict[str, Any] = {"use_pad": pad.use_pad, "use_dynamic": pad.use_dynamic}
    if pad.variant != pad.plain:
        network |= filled_in(pad, KERNELS, PADKernelsConfig) | filled_in(pad, EXPERTS, PADMoEConfig)
    network |= {f"temperature_{name}": value for name, value in temperature_options(pad).items()}
    return recorded(asdict(data), source | shape_options(model), network | partition_options(partition), training)
