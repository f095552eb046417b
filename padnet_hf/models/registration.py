"""How transformers' Auto classes come to know the PAD models, with none imported before it is asked for.

AutoConfig gets stand-ins for the configurations as soon as it is imported itself (padnet_hf/__init__.py): to import a
configuration at that moment would go in a circle. The first use of a stand-in imports its family, which registers all
its classes, as does importing it in any other way.
"""

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from padnet_hf.models.known import KNOWN, module_of, pad_type

if TYPE_CHECKING:  # this module is imported in the middle of transformers' own imports
    from transformers import PreTrainedConfig


class _StandIn(type):
    """The type of a class that does what a family's configuration does, which is imported then."""

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        return cls._meant()(*args, **kwargs)

    def __getattr__(cls, name: str) -> Any:
        return getattr(cls._meant(), name)

    def _meant(cls) -> "type[PreTrainedConfig]":
        family = next(dense for dense in KNOWN if pad_type(dense) == cls.model_type)
        return getattr(import_module(module_of(family)), cls.__name__)


STAND_INS = {
    f"{prefix}Config": _StandIn(f"{prefix}Config", (), {"model_type": pad_type(dense), "__module__": __name__})
    for dense, prefix in KNOWN.items()
}
"""By the names of the configurations."""

globals().update(STAND_INS)  # where pickle looks for them


def register_stand_ins(_: ModuleType) -> None:
    """Register every PAD configuration; called as soon as AutoConfig's module, given here, is imported."""
    from transformers.models.auto.configuration_auto import AutoConfig  # waits while another thread still imports it

    for stand_in in STAND_INS.values():
        AutoConfig.register(stand_in.model_type, stand_in, exist_ok=True)
