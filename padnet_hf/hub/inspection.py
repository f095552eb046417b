"""What a checkpoint is and takes, from its configuration and the headers of its weights alone."""

from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import torch
import transformers
from huggingface_hub import HfApi, get_local_safetensors_metadata, hf_hub_download
from huggingface_hub.errors import NotASafetensorsRepoError, SafetensorsParsingError
from huggingface_hub.utils import SafetensorsFileMetadata, SafetensorsRepoMetadata
from transformers import AutoConfig, PreTrainedConfig
from transformers.utils import CONFIG_NAME

from padnet_hf.errors import PADCheckpointError, PADNetError
from padnet_hf.hub.access import explained
from padnet_hf.hub.headers import check_headers, check_inside
from padnet_hf.hub.model_card import auto_class_of
from padnet_hf.method.report import PartitionReport

_DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


@dataclass(frozen=True)
class Inspection:
    """A checkpoint whose headers fit its configuration.

    Attributes:
        source: folder or repository.
        config: its configuration.
        report: sizes and dynamic ratios, as a loaded model's `partition_report()`.
        dtype: of most of its parameters.
        file_bytes: of its weight files, headers included.
        num_files: how many there are.
    """

    source: str
    config: PreTrainedConfig
    report: PartitionReport
    dtype: torch.dtype
    file_bytes: int
    num_files: int

    @property
    def num_copies(self) -> int:
        """E, of every dynamic layer: experts or kernels."""
        return getattr(self.config, f"num_{self.config.copies}")

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionaries, lists and numbers, ready for JSON."""
        return {
            "source": self.source,
            "architecture": self.config.architectures[0],
            "auto_class": auto_class_of(self.config),
            "base_model": self.config.base_model,
            "padnet_hf_version": self.config.padnet_hf_version,
            "dtype": str(self.dtype).removeprefix("torch."),
            "file_bytes": self.file_bytes,
            "num_files": self.num_files,
            **self.report.to_dict(),
        }


def inspect_checkpoint(
    source: str | PathLike[str], *, revision: str | None = None, token: str | bool | None = None
) -> Inspection:
    """Read a PAD checkpoint's configuration and headers, and hold them against each other.

    No weight is read; of a repository on the Hub, only the headers are downloaded.

    Raises PADNetError if there is no such checkpoint, it is of another kind, or its parts do not belong together.
    """
    name = str(source)
    config = read_config(name, revision, token)
    metadata, sizes = _local(Path(name)) if Path(name).is_dir() else _remote(name, revision, token)
    check_inside(name, [Path(name, file) for file in metadata.files_metadata])
    tensors = {key: info for file in metadata.files_metadata.values() for key, info in file.tensors.items()}
    counts = {dtype: count for dtype, count in metadata.parameter_count.items() if dtype in _DTYPES}
    dtype = _DTYPES[max(counts, key=counts.get, default="F32")]
    with torch.device("meta"):
        model = getattr(transformers, auto_class_of(config)).from_config(config, dtype=dtype)
    check_headers(model, tensors, name)
    return Inspection(name, config, model.partition_report(), dtype, sum(sizes), len(sizes))


def read_config(name: str, revision: str | None = None, token: str | bool | None = None) -> PreTrainedConfig:
    """The configuration of a PAD checkpoint in a folder or repository. Raises PADNetError if it has none."""
    config = read_any_config(name, revision, token)
    if not hasattr(config, "auto_classes"):
        raise PADCheckpointError(
            f"{name!r} is not a PAD checkpoint but a {config.model_type!r} model; `padnet upcycle` makes one of a "
            "dense model, of the types that `padnet families` lists."
        )
    return config


def read_any_config(name: str, revision: str | None = None, token: str | bool | None = None) -> PreTrainedConfig:
    """That of a checkpoint of any kind."""
    folder = Path(name)
    if not folder.is_dir():
        with explained(name):
            folder = Path(hf_hub_download(name, CONFIG_NAME, revision=revision, token=token)).parent
    try:
        config = AutoConfig.from_pretrained(folder)
    except PADNetError:
        raise
    except (OSError, ValueError, TypeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise PADCheckpointError(f"{name!r} is not a PAD checkpoint that can be read: {reason}") from error
    return config


def _local(folder: Path) -> tuple[SafetensorsRepoMetadata, list[int]]:
    try:
        metadata = get_local_safetensors_metadata(folder)
    except (NotASafetensorsRepoError, FileNotFoundError) as error:
        raise PADCheckpointError(f"{str(folder)!r} lacks weights in safetensors: {error}") from error
    except (SafetensorsParsingError, ValueError, KeyError, TypeError) as error:
        raise PADCheckpointError(f"the weights in {str(folder)!r} are damaged, get them again: {error}") from error
    sizes = {name: (folder / name).stat().st_size for name in metadata.files_metadata}
    for name, size in sizes.items():
        if size < (whole := _whole_size(folder / name, metadata.files_metadata[name])):
            raise PADCheckpointError(
                f"{str(folder / name)!r} has {size:,} bytes, but its header says {whole:,}: copying or downloading "
                "it was interrupted, get it again."
            )
    return metadata, list(sizes.values())


def _whole_size(path: Path, file: SafetensorsFileMetadata) -> int:
    """Bytes of a file of weights: the header's length, the header, the tensors."""
    with path.open("rb") as stream:
        header = int.from_bytes(stream.read(8), "little")
    return 8 + header + max((info.data_offsets[1] for info in file.tensors.values()), default=0)


def _remote(name: str, revision: str | None, token: str | bool | None) -> tuple[SafetensorsRepoMetadata, list[int]]:
    api = HfApi(token=token)
    with explained(name):
        try:
            metadata = api.get_safetensors_metadata(name, revision=revision)
        except NotASafetensorsRepoError as error:
            raise PADCheckpointError(f"{name!r} lacks weights in safetensors: {error}") from error
        except SafetensorsParsingError as error:
            raise PADCheckpointError(f"the weights of {name!r} are damaged: {error}") from error
        files = api.get_paths_info(name, list(metadata.files_metadata), revision=revision)
    return metadata, [file.size for file in files]
