"""What only the weights themselves tell: every value is read, on request only."""

from collections.abc import Iterator
from pathlib import Path

import torch
from huggingface_hub import snapshot_download
from safetensors import SafetensorError, safe_open
from torch import Tensor

from padnet_hf.errors import PADCheckpointError
from padnet_hf.hub.access import explained


def tensors_of(
    source: str, *, revision: str | None = None, token: str | bool | None = None
) -> Iterator[tuple[str, Tensor]]:
    """The tensors of a checkpoint by name, one in memory at a time.

    Of a repository on the Hub, the weights are downloaded. Raises PADNetError if they cannot be read.
    """
    folder = Path(source)
    if not folder.is_dir():
        with explained(source):
            folder = Path(
                snapshot_download(source, revision=revision, token=token, allow_patterns="model*.safetensors")
            )
    for file in sorted(folder.glob("model*.safetensors")):
        try:
            with safe_open(file, "pt") as tensors:
                for name in tensors.keys():  # noqa: SIM118 - not a dict
                    yield name, tensors.get_tensor(name)
        except SafetensorError as error:
            raise PADCheckpointError(f"the weights in {str(file)!r} are damaged, get them again: {error}") from error


def non_finite(source: str, *, revision: str | None = None, token: str | bool | None = None) -> dict[str, int]:
    """How many values of each tensor are NaN or infinite, for those that have any; see `tensors_of`."""
    found = {}
    for name, tensor in tensors_of(source, revision=revision, token=token):
        if count := int((~torch.isfinite(tensor)).sum()):
            found[name] = count
    return found
