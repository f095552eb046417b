"""How a PAD model is saved and loaded: compact, whole, and checked."""

import json
from collections.abc import Sequence
from json import JSONDecodeError
from os import PathLike
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from huggingface_hub import CommitInfo, EvalResult, ModelCardData
from huggingface_hub.constants import HF_HUB_OFFLINE
from huggingface_hub.errors import HTTPError
from safetensors import SafetensorError
from transformers import BaseImageProcessor, PreTrainedModel, PreTrainedTokenizerBase
from transformers.configuration_utils import PreTrainedConfig
from transformers.utils import CONFIG_NAME

from padnet_hf.errors import MISREAD, PADCheckpointError, PADHubError, PADNetError
from padnet_hf.hub.access import explained, not_cached, repository_name
from padnet_hf.hub.code_shim import auto_map, write_shim
from padnet_hf.hub.downloads import check_downloads
from padnet_hf.hub.headers import check_headers, check_inside, read_headers
from padnet_hf.hub.publishing import Repository, describe
from padnet_hf.hub.whole_files import filled_whole
from padnet_hf.models.parallel import PADParallelMixin
from padnet_hf.models.partition_record import PartitionRecordMixin
from padnet_hf.version import __version__

_RECORDS = ("partition", "padnet_hf_version", "base_model")
"""Fields that decide nothing about the tensors."""

_PUSH_OPTIONS = ("commit_message", "commit_description", "private", "revision", "create_pr", "tags", "token")


class PADCheckpointMixin(PartitionRecordMixin, PADParallelMixin):
    """save_pretrained and from_pretrained of PAD models."""

    def save_pretrained(
        self, save_directory: str | PathLike[str], is_main_process: bool = True, *args: Any, **kwargs: Any
    ) -> None:
        """transformers' save_pretrained; a folder's earlier files stay until all new ones are there.

        Beside the weights, the folder gets the file of code that `trust_remote_code=True` runs: an import of this
        package. Of a sharded model every process calls it, and none returns before the files are there.
        Raises PADNetError if the files cannot be written, and PADCheckpointError if something has changed the masks.
        """
        if kwargs.get("distributed_checkpoint") or not self.should_save_on_this_rank(is_main_process):
            super().save_pretrained(save_directory, is_main_process, *args, **kwargs)
            self.wait_for_all()
            return
        push, repo_id = kwargs.pop("push_to_hub", False), kwargs.pop("repo_id", Path(save_directory).name)
        to_hub = {name: kwargs.pop(name) for name in _PUSH_OPTIONS if name in kwargs}
        self.config.auto_map = auto_map(self.config.auto_classes)
        self.config.padnet_hf_version = __version__
        self.check_masks()
        self._add_hash()
        with filled_whole(Path(save_directory)) as folder:
            super().save_pretrained(folder, is_main_process, *args, **kwargs)
            write_shim(folder, self.config.auto_classes)
        self.wait_for_all()
        if push:
            self.push_to_hub(repo_id, **to_hub)

    def push_to_hub(
        self,
        repo_id: str,
        *,
        processing_class: PreTrainedTokenizerBase | BaseImageProcessor | None = None,
        eval_results: Sequence[EvalResult] = (),
        commit_message: str | None = None,
        commit_description: str | None = None,
        private: bool | None = None,
        token: bool | str | None = None,
        revision: str | None = None,
        create_pr: bool = False,
        max_shard_size: int | str = "50GB",
        tags: Sequence[str] = (),
    ) -> CommitInfo:
        """Upload the compact checkpoint with its report, picture and model card to the Hub, in one commit.

        Args:
            repo_id: "org/name", or "name" for the token's owner; made if it is not there yet.
            processing_class: tokenizer or image processor to upload with the model.
            eval_results: for the card. A card that is there keeps what its owner wrote.

        The other arguments are transformers'. Raises PADHubError, and leaves the repository as it was, if the Hub
        refuses or the connection breaks.
        """
        repository = Repository(repo_id, private=private, token=token, revision=revision)
        with TemporaryDirectory() as name:
            folder = Path(name)
            self.save_pretrained(folder, max_shard_size=max_shard_size)
            if processing_class is not None:
                processing_class.save_pretrained(folder)
            metadata = ModelCardData(model_name=repository.name, eval_results=[*eval_results], tags=[*(tags or ())])
            report, existing = self.partition_report(), repository.card()
            describe(folder, self.config, report, repository=repository.name, existing=existing, metadata=metadata)
            return repository.upload(
                folder, message=commit_message, description=commit_description, create_pr=create_pr
            )

    @classmethod
    def from_pretrained(cls, *args: Any, **kwargs: Any) -> Any:
        """transformers' from_pretrained, from safetensors only; files, masks and configuration must belong together.

        Raises PADCheckpointError if they do not, before memory is taken for the weights.
        """
        source = str(args[0] if args else kwargs.get("pretrained_model_name_or_path"))
        if kwargs.setdefault("use_safetensors", True) is not True:
            raise PADNetError(
                f"use_safetensors is {kwargs['use_safetensors']!r}, but PAD models load safetensors only: other "
                "formats are pickles, which can run any code. Leave it out."
            )
        try:
            loaded = super().from_pretrained(*args, **kwargs)
        except (SafetensorError, JSONDecodeError) as error:  # JSON: the shards' index; a configuration's is an OSError
            raise PADCheckpointError(f"the weights in {source!r} are damaged, get them again: {error}") from error
        except OSError as error:
            if (HF_HUB_OFFLINE or kwargs.get("local_files_only")) and repository_name(source) is not None:
                raise PADHubError(not_cached(source)) from error
            if isinstance(error.__cause__, HTTPError):
                with explained(source):
                    raise error.__cause__ from None
            if "file named model.safetensors" not in str(error):
                raise
            raise PADCheckpointError(
                f"{source!r} has no model.safetensors. Weights in other formats (pytorch_model.bin) are not loaded, "
                "they can run any code: ask for the checkpoint in safetensors."
            ) from error
        except MISREAD as error:
            raise PADCheckpointError(
                f"{source!r} cannot be loaded, its files are damaged or an option is not one: {error!r}"
            ) from error
        (loaded[0] if isinstance(loaded, tuple) else loaded).check_masks()
        return loaded

    @staticmethod
    def _load_pretrained_model(
        model: PreTrainedModel, state_dict: Any, checkpoint_files: list[str] | None, load_config: Any, **kwargs: Any
    ) -> Any:
        """transformers' seam between the empty model and its values: the last moment to refuse for free."""
        is_adapter = model._hf_peft_config_loaded  # PEFT's, on a model whose own files have passed
        if checkpoint_files is not None and not load_config.is_quantized and not is_adapter:
            source = str(load_config.pretrained_model_name_or_path)
            if Path(source).is_dir():
                check_inside(source, checkpoint_files)
            check_downloads(checkpoint_files)
            check_headers(
                model,
                read_headers(checkpoint_files),
                source,
                sizes_may_differ=load_config.ignore_mismatched_sizes,
                changed=_changed_options(model.config, Path(checkpoint_files[0]).with_name(CONFIG_NAME)),
            )
        return PreTrainedModel._load_pretrained_model(model, state_dict, checkpoint_files, load_config, **kwargs)

    @classmethod
    def register_for_auto_class(cls, auto_class: str | type = "AutoModel") -> None:
        """Do nothing: checkpoints carry their own code (padnet_hf/hub/code_shim.py), the package's is not copied."""


def _changed_options(config: PreTrainedConfig, saved: Path) -> dict[str, tuple[Any, Any]]:
    """Our options that differ from those the checkpoint was saved with, as (saved, asked for)."""
    before = json.loads(saved.read_text(encoding="utf-8")) if saved.is_file() else {}
    copies = f"num_{config.copies}"  # a stock field of trained mixtures, by a name of their own
    names = {*config._own_fields(), config.attribute_map.get(copies, copies)}
    options = (name for name in sorted(names) if name in before and name not in _RECORDS)
    return {name: (before[name], now) for name in options if (now := getattr(config, name)) != before[name]}
