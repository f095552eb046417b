"""Repositories in memory: a commit is an immutable snapshot, branches and tags point at commits."""

import hashlib
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from types import MappingProxyType

from tests.hub.messages import HubError
from tests.hub.stored_file import GITATTRIBUTES, StoredFile


@dataclass(frozen=True)
class Commit:
    """A snapshot of all files, and where it came from."""

    parent: "Commit | None"
    title: str
    files: Mapping[str, StoredFile]
    author: str = "alice"
    description: str = ""
    date: datetime = field(default_factory=lambda: datetime.now(UTC))

    @cached_property
    def oid(self) -> str:
        parts = [self.parent.oid if self.parent else "", self.title, self.author, self.description, str(self.date)]
        parts += [f"{path} {file.etag}" for path, file in sorted(self.files.items())]
        return hashlib.sha1("\0".join(parts).encode()).hexdigest()

    def history(self) -> list["Commit"]:
        """This commit and all before it, newest first."""
        return [self, *(self.parent.history() if self.parent else [])]


@dataclass
class Repository:
    """A model repository."""

    id: str
    private: bool = False
    branches: dict[str, Commit] = field(default_factory=dict)
    tags: dict[str, Commit] = field(default_factory=dict)
    pull_requests: dict[str, Commit] = field(default_factory=dict)  # under refs/pr/<number>
    objects: dict[str, bytes] = field(default_factory=dict)  # LFS, by sha256; in no commit until one names them
    awaited: set[str] = field(default_factory=set)  # LFS objects whose upload was agreed on

    def resolve(self, revision: str) -> Commit:
        """Commit of a branch, a tag, a pull request or a commit id."""
        name = revision.removeprefix("refs/heads/").removeprefix("refs/tags/")
        tips = {**self.pull_requests, **self.tags, **self.branches}
        if name in tips:
            return tips[name]
        for commit in (commit for tip in tips.values() for commit in tip.history()):
            if commit.oid == revision:
                return commit
        raise HubError(404, f"Invalid rev id: {revision}", "RevisionNotFound")

    def advance(self, revision: str, commit: Commit) -> Commit:
        """Make a commit the newest one of a branch or of a pull request."""
        refs = self.pull_requests if revision in self.pull_requests else self.branches
        refs[revision] = commit
        self.objects |= {file.sha256: file.content for file in commit.files.values() if file.lfs}
        return commit


class Repositories:
    """All repositories. Requests are answered under `lock`, one after the other."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self._by_id: dict[str, Repository] = {}

    def __contains__(self, repo_id: str) -> bool:
        return repo_id in self._by_id

    def __getitem__(self, repo_id: str) -> Repository:
        if repo_id not in self._by_id:
            raise HubError(404, "Repository not found", "RepoNotFound")
        return self._by_id[repo_id]

    def create(self, repo_id: str, private: bool = False, files: Mapping[str, bytes] | None = None) -> Repository:
        """New repository; as on the Hub its first commit holds .gitattributes. `files` become a second one."""
        first = Commit(None, "initial commit", {".gitattributes": StoredFile(GITATTRIBUTES, lfs=False)})
        self._by_id[repo_id] = Repository(repo_id, private, {"main": first})
        if files:
            self.commit(repo_id, files)
        return self._by_id[repo_id]

    def delete(self, repo_id: str) -> None:
        del self._by_id[self[repo_id].id]

    def commit(
        self,
        repo_id: str,
        files: Mapping[str, bytes],
        delete: Iterable[str] = (),
        revision: str = "main",
        title: str = "A commit of the test",
    ) -> str:
        """Add, replace and delete files without HTTP; returns the id of the commit."""
        with self.lock:
            repository = self[repo_id]
            parent = repository.resolve(revision)
            changed = dict(parent.files) | {path: StoredFile.of(path, content) for path, content in files.items()}
            for path in delete:
                del changed[path]
            return repository.advance(revision, Commit(parent, title, MappingProxyType(changed))).oid

    def files(self, repo_id: str, revision: str = "main") -> dict[str, bytes]:
        """Contents of all files, .gitattributes included."""
        return {path: file.content for path, file in self[repo_id].resolve(revision).files.items()}

    def head(self, repo_id: str, revision: str = "main") -> str:
        """Id of a revision's newest commit."""
        return self[repo_id].resolve(revision).oid

    def titles(self, repo_id: str, revision: str = "main") -> list[str]:
        """Titles of a revision's commits, newest first."""
        return [commit.title for commit in self[repo_id].resolve(revision).history()]
