"""PEFT, an optional extra: imported when it is used, with an error that says how to install it."""

from importlib import import_module
from types import ModuleType

from padnet_hf.errors import PADNetError


def import_peft(module: str = "peft") -> ModuleType:
    """The module of PEFT. Raises PADNetError if PEFT is not installed."""
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        raise PADNetError("adapters need PEFT, which is not installed: pip install peft.") from error
