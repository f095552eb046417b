"""Weights that are not numbers any more: reading every value, on request only."""

from pathlib import Path

import torch
from huggingface_hub import snapshot_download
from safetensors import SafetensorError, safe_open

from padnet_hf.errors import PADCheckpointError
from padnet_hf.hub.access import explained


def non_finite(source: str, *, revision: str | None = None, token: str | bool | None = None) -> dict[str, int]:
    """How many values of each tensor are NaN or infinite, for those that have any; one tensor in memory at a time.

    Of a repository on the Hub, the weights are downloaded. Raises PADNetError if they cannot be read.
    """
    folder = Path(source)
    if not folder.is_dir():
        with explained(source):
            folder = Path(
                snapshot_download(source, revision=revision, token=token, allow_patterns="model*.safetensors")
            )
    found = {}
    for file in sorted(folder.glob("model*.safetensors")):
        try:
            with safe_open(file, "pt") as tensors:
                for name in tensors.keys():  # noqa: SIM118 - not a dict
                    tensor = tensors.get_tensor(name)
                    if count := int((~torch.isfinite(tensor)).sum()):
                        found[name] = count
        except SafetensorError as error:
            raise PADCheckpointError(f"the weights in {str(file)!r} are damaged, get them again: {error}") from error
    return found
