"""Partially dynamic networks (PAD-Net, ACL 2023) for Hugging Face Transformers.

The public names stand in __init__.pyi, and each is imported when it is first used. After importing the package,
transformers' Auto classes know its models, whichever of the two is imported first.
"""

from threading import RLock
from typing import Any

import lazy_loader
from wrapt import register_post_import_hook

_import_name, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
_importing = RLock()


def __getattr__(name: str) -> Any:
    with _importing:  # threads that import at the same time can meet each other's modules half done, transformers' too
        return _import_name(name)


register_post_import_hook(
    "padnet_hf.models.registration:register_stand_ins", "transformers.models.auto.configuration_auto"
)
