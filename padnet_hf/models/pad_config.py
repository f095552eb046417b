"""What every PAD configuration adds to the stock one of its family, and the way from that one and back."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Self

from packaging.version import InvalidVersion, Version
from transformers.configuration_utils import PreTrainedConfig

from padnet_hf.errors import MISREAD, PADCheckpointError, PADNetError
from padnet_hf.models.seams import Seam
from padnet_hf.models.untrusted import check_untrusted
from padnet_hf.version import __version__

_IDENTITY = ("model_type", "architectures", "auto_map", "transformers_version", "_name_or_path")
_LABELS = ("num_labels", "id2label", "label2id")


@dataclass
class PADConfigMixin:
    """Base class of PAD configurations, before transformers' own of the family.

    Attributes:
        dynamic_counts: after partition, the number of dynamic elements or units of every PADWeight by name.
        partition: after partition, how it was made: PartitionConfig, samples, mask hash, package version.
        base_model: name on the Hub of the dense checkpoint that the model was upcycled from, if it has one.
        padnet_hf_version: of the package that saved the checkpoint.
    """

    dense_class: ClassVar[type[PreTrainedConfig]]
    """The stock configuration; a family names it, and its `model_type`."""
    seam: ClassVar[Seam]
    """Where dynamic layers are put; a family names it."""
    first_version: ClassVar[tuple[int, int]] = (0, 0)
    """Major and minor number of the first version whose checkpoints have today's form."""
    copies: ClassVar[str]
    """What the copies of a layer are called: the field num_<copies> says how many there are."""
    models: ClassVar[Mapping[str, type]] = {}
    """Auto class -> PAD model of this family, set by `register_family`."""
    auto_classes: ClassVar[Mapping[str, str]] = {}
    """Auto class -> name of the family's class, configuration included, set by `register_family`."""
    processing_class: ClassVar[str]
    """The Auto class of what prepares its inputs, set by `register_family`."""

    dynamic_counts: dict | None = None
    partition: dict | None = None
    base_model: str | None = None
    padnet_hf_version: str | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        super().__post_init__(**kwargs)
        self._check_ranges()
        self._check_origin()

    def _check_ranges(self) -> None:
        """Raise PADNetError for a value that no model can have."""

    def _check(self, valid: bool, name: str, allowed: str) -> None:
        if not valid:
            raise PADNetError(f"{name} is {getattr(self, name)!r}, but must be {allowed}.")

    def _check_origin(self) -> None:
        """Raise PADNetError for a record of partition that no model can have, or a checkpoint of a newer package."""
        granularity = (self.partition or {}).get("granularity", "element")
        if granularity not in ("element", "unit"):
            raise PADNetError(f"partition['granularity'] is {granularity!r}, but must be 'element' or 'unit'.")
        masks = (self.partition or {}).get("masks", "shared")
        if masks not in ("shared", "per_copy"):
            raise PADNetError(f"partition['masks'] is {masks!r}, but must be 'shared' or 'per_copy'.")
        if self.padnet_hf_version is not None and _minor(self.padnet_hf_version) > _minor(__version__):
            raise PADCheckpointError(
                f"the checkpoint was saved by padnet_hf {self.padnet_hf_version}, but installed is {__version__}, "
                "which may not read it rightly: install that version from its source code."
            )
        if self.padnet_hf_version is not None and _minor(self.padnet_hf_version) < self.first_version:
            raise PADCheckpointError(
                f"the checkpoint was saved by padnet_hf {self.padnet_hf_version}, whose layers have other names: from "
                f"{'.'.join(map(str, self.first_version))} on {self.model_type} keeps those of transformers. Make it "
                "again from the dense checkpoint, with this version."
            )

    @property
    def partition_defaults(self) -> dict[str, Any]:
        """Fields of PartitionConfig that have another default for this family."""
        # Stock language models have experts of the same size in all layers.
        return {"scope": "layer"} if "AutoModelForCausalLM" in self.models else {}

    @staticmethod
    def longest_input(config: PreTrainedConfig) -> int:
        """The most tokens of a text, for a dense or PAD configuration of the family; some use positions otherwise."""
        return config.max_position_embeddings

    @classmethod
    def check_static_values(cls, values: str | None) -> None:
        """Raise PADNetError if its layers cannot have such static values, as partition() would, but early."""
        if values == "none" and cls.copies == "kernels":
            raise PADNetError(
                f"static values 'none' leave units out, but those of a {cls.dense_class.model_type!r} model are output "
                "channels, and what follows a convolution needs all of them: choose other static values."
            )

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        """transformers' from_dict. Raises PADNetError for a configuration of another family, a dense one's say."""
        found = config_dict.get("model_type", cls.model_type)
        if found != cls.model_type:
            dense = cls.dense_class.model_type
            remedy = f"turn it into one with from_dense, padnet upcycle or --use_pad (of type {dense!r} only)"
            raise PADNetError(f"this is a checkpoint of model type {found!r}, not of {cls.model_type!r}: {remedy}.")
        check_untrusted(config_dict, {field.name for field in fields(cls)}, cls.attribute_map)
        try:
            return super().from_dict(config_dict, **kwargs)
        except MISREAD as error:
            raise PADCheckpointError(f"config.json holds what no model can have: {error!r}; get it again.") from error

    @classmethod
    def from_dense(cls, dense: PreTrainedConfig, **changed: Any) -> Self:
        """The configuration of `dense` with these fields set or changed.

        Raises PADNetError for an unknown field, and for a quantised model.
        """
        quantised = getattr(dense, "quantization_config", None)
        if quantised is not None:
            known = quantised if isinstance(quantised, Mapping) else vars(quantised)
            raise PADNetError(
                f"the {cls.dense_class.model_type!r} model is quantised (quantization_config of {_method(known)!r}), "
                "but PAD layers hold weights in float32, bfloat16 or float16: give a checkpoint in one of these."
            )
        default = cls()
        if unknown := sorted(name for name in changed if not hasattr(default, name)):
            raise PADNetError(
                f"{cls.__name__} has no field {unknown[0]!r}; its fields are those of {cls.dense_class.__name__} and "
                f"{', '.join(cls._own_fields())}."
            )
        known = dense.to_dict()
        for name in _IDENTITY:
            known.pop(name, None)
        if changed.keys() & set(_LABELS):
            for name in _LABELS[1:]:
                known.pop(name, None)
        return cls(**known | changed)

    def to_dense(self) -> PreTrainedConfig:
        """The configuration of the stock model: the same without what the PAD family adds."""
        known = self.to_dict()
        for name in (*_IDENTITY, *self._own_fields()):
            known.pop(name, None)
        return self.dense_class(**known)

    @classmethod
    def _own_fields(cls) -> list[str]:
        stock = {field.name for field in fields(cls.dense_class)}
        return [field.name for field in fields(cls) if field.name not in stock]

    @classmethod
    def register_for_auto_class(cls, auto_class: str | type = "AutoConfig") -> None:
        """Do nothing: checkpoints carry their own code (padnet_hf/hub/code_shim.py), the package's is not copied."""


def image_shape(config: PreTrainedConfig) -> tuple[int, int, int]:
    """Channels, height and width of an image for a dense or PAD model; 224 where the configuration has no size."""
    size = getattr(config, "image_size", 224)
    height, width = size if isinstance(size, list | tuple) else (size, size)
    return config.num_channels, height, width


def _method(quantised: Mapping[str, Any]) -> str:
    """What a quantised model was quantised by."""
    method = quantised.get("quant_method", "unknown method")
    return str(getattr(method, "value", method))


def _minor(version: str) -> tuple[int, ...]:
    """Major and minor number: the form of checkpoints changes with these alone."""
    try:
        return Version(version).release[:2]
    except (InvalidVersion, TypeError) as error:
        raise PADCheckpointError(
            f"padnet_hf_version in config.json is {version!r}, but must be a version like {__version__!r}."
        ) from error
