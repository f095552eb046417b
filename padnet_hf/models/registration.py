"""How transformers' Auto classes come to know the PAD models, with none imported before it is asked for.

AutoConfig gets stand-ins for the configurations as soon as it is imported itself (padnet_hf/__init__.py): to import a
configuration at that moment would go in a circle. The first use of a stand-in imports the package of its family, which
registers all its classes, as does importing it in any other way.
"""

from collections.abc import Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Any

import transformers

import padnet_hf

if TYPE_CHECKING:  # this module is imported in the middle of transformers' own imports
    from transformers import PreTrainedConfig


class _StandIn(type):
    """The type of a class that does what the package's class of its name does, which is imported then."""

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        return cls._meant()(*args, **kwargs)

    def __getattr__(cls, name: str) -> Any:
        return getattr(cls._meant(), name)

    def _meant(cls) -> "type[PreTrainedConfig]":
        return getattr(padnet_hf, cls.__name__)


class PADBertConfig(metaclass=_StandIn):
    """In the place of padnet_hf.PADBertConfig."""

    model_type = "pad_bert"


class PADResNetConfig(metaclass=_StandIn):
    """In the place of padnet_hf.PADResNetConfig."""

    model_type = "pad_resnet"


def register_stand_ins(_: ModuleType) -> None:
    """Register every PAD configuration; called as soon as AutoConfig's module, given here, is imported."""
    from transformers.models.auto.configuration_auto import AutoConfig  # waits while another thread still imports it

    for stand_in in (PADBertConfig, PADResNetConfig):
        AutoConfig.register(stand_in.model_type, stand_in, exist_ok=True)


def register(config: "type[PreTrainedConfig]", family: Mapping[str, Any]) -> None:
    """Register a family's configuration and models, which `family` has by name; a second time changes nothing."""
    for auto_class, name in config.auto_classes.items():
        key = config.model_type if auto_class == "AutoConfig" else config
        getattr(transformers, auto_class).register(key, family[name], exist_ok=True)
