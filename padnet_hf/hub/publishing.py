"""From a saved checkpoint to a repository on the Hub: report, picture and card beside the weights, then one commit."""

import logging
from pathlib import Path
from typing import Any

from huggingface_hub import CommitInfo, HfApi, ModelCard, hf_hub_download
from huggingface_hub.errors import EntryNotFoundError, RevisionNotFoundError
from transformers import PreTrainedConfig
from transformers.utils import is_matplotlib_available

from padnet_hf.errors import PADNetError
from padnet_hf.hub.access import explained
from padnet_hf.hub.model_card import CARD, PICTURE, write_card
from padnet_hf.hub.whole_files import write_json
from padnet_hf.method.report import PartitionReport

logger = logging.getLogger(__name__)

REPORT = "partition_report.json"
_LEFT_OUT = ["checkpoint-*", "_*", ".*", "*.bin", "*.pt", "*.pth", "*.pkl", "*.ckpt"]
"""Of a folder: checkpoints of the training, unfinished files, pickles."""


def write_report(folder: Path, report: PartitionReport) -> None:
    """Write partition_report.json, and partition.png where something is static and matplotlib is installed.

    A network without dynamic layers has neither.
    """
    if not report.layers:
        return
    write_json(folder / REPORT, report.to_dict())
    if report.record is None:
        return
    if is_matplotlib_available():
        report.plot(folder / PICTURE)
    else:
        logger.warning("no %s: drawing needs matplotlib (pip install matplotlib)", PICTURE)


def describe(
    folder: Path, config: PreTrainedConfig, report: PartitionReport, *, repository: str, **card: Any
) -> ModelCard:
    """Write report, picture and card; for the arguments see `write_card`."""
    write_report(folder, report)
    return write_card(folder, config, report, repository=repository, **card)


class Repository:
    """A model repository to publish to, made if it is not there yet.

    Args:
        name: "org/name", or "name" for the token's owner.
        private: whether a new repository is; None for the owner's default.
        token: None for the one logged in with.
        revision: branch to commit to, made if it is not there yet; None for the main one.

    Attributes:
        name: in full.

    Raises PADHubError without a token that may write to it.
    """

    def __init__(
        self,
        name: str,
        *,
        private: bool | None = None,
        token: str | bool | None = None,
        revision: str | None = None,
    ) -> None:
        self._api, self._revision = HfApi(token=token), revision
        with explained(name):
            self.name = self._api.create_repo(name, private=private, exist_ok=True).repo_id
            if revision is not None and not revision.startswith("refs/pr"):
                self._api.create_branch(self.name, branch=revision, exist_ok=True)

    def card(self) -> str | None:
        """The text of its card, None if it has none."""
        with explained(self.name):
            try:
                path = hf_hub_download(self.name, CARD, revision=self._revision, token=self._api.token)
            except (EntryNotFoundError, RevisionNotFoundError):
                return None
        return Path(path).read_text(encoding="utf-8")

    def upload(
        self,
        folder: Path,
        *,
        message: str | None = None,
        description: str | None = None,
        create_pr: bool = False,
    ) -> CommitInfo:
        """Commit a checkpoint's files, and take out weights of an earlier one that it does not have; all at once.

        Raises PADHubError if the Hub refuses or cannot be reached; the repository is then as it was. Raises PADNetError
        if the card is not valid.
        """
        with explained(self.name):
            try:
                ModelCard.load(folder / CARD).validate()
            except ValueError as error:
                raise PADNetError(f"the Hub does not take the metadata of {CARD}: {error}") from error
            return self._api.upload_folder(
                repo_id=self.name,
                folder_path=folder,
                commit_message=message or "Upload model",
                commit_description=description,
                revision=self._revision,
                create_pr=create_pr,
                ignore_patterns=_LEFT_OUT,
                delete_patterns=["model*.safetensors", "model.safetensors.index.json"],
            )
