"""Data files out of installed wheels, for machines without the Hub: read, their packages' code never imported."""

import importlib.util
from pathlib import Path

from padnet_hf.errors import PADNetError


def installed_path(package: str, inside: str, remedy: str) -> Path:
    """Where the file or folder `inside` of an installed package lies. Raises PADNetError with the remedy if nowhere."""
    spec = importlib.util.find_spec(package)
    for location in (spec and spec.submodule_search_locations) or ():
        path = Path(location, inside)
        if path.exists():
            return path
    raise PADNetError(
        f"the embedded default needs {inside!r} of the wheel that brings {package!r}, which is not installed: {remedy}"
    )
