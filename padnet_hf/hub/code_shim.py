"""The one file of code in a checkpoint: it makes `trust_remote_code=True` import this package.

Without the file a reader has to `import padnet_hf` first; with it, they are told what is missing. transformers would
tell them to `pip install padnet_hf`, a name that is not ours on the package registry: anybody may put code behind it.
"""

from collections.abc import Mapping
from pathlib import Path

from padnet_hf.hub.whole_files import write_text

SHIM_MODULE = "modeling_padnet"

_SHIM = '''"""The code of this model is the package padnet_hf."""

try:
    from padnet_hf import (
        {names},
    )
except ModuleNotFoundError as error:
    raise ImportError(
        "This model needs the package padnet_hf. It is not on the package registry (one of this name there is somebody "
        "else's): install it from its source code, with `pip install -c constraints.txt -e .` in a clone."
    ) from error

__all__ = [{quoted}]
'''


def auto_map(auto_classes: Mapping[str, str]) -> dict[str, str]:
    """`config.auto_map` for a family's table of Auto class -> class."""
    return {auto_class: f"{SHIM_MODULE}.{name}" for auto_class, name in auto_classes.items()}


def write_shim(folder: Path, auto_classes: Mapping[str, str]) -> None:
    """Write the file that `auto_map` refers to."""
    names = sorted(auto_classes.values())
    text = _SHIM.format(names=",\n        ".join(names), quoted=", ".join(f'"{name}"' for name in names))
    write_text(folder / f"{SHIM_MODULE}.py", text)
