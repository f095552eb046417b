"""What the Hub tells about a repository: model info, trees, references."""

import hashlib
import json
from collections import Counter
from math import prod

from tests.hub.model_card import card_of
from tests.hub.repositories import Commit, Repository
from tests.hub.stored_file import StoredFile

# The Hub reads the task off the class in config.json where the card does not name it.
TASK_OF_CLASS = {
    "ForSequenceClassification": "text-classification",
    "ForTokenClassification": "token-classification",
    "ForQuestionAnswering": "question-answering",
    "ForMaskedLM": "fill-mask",
    "ForCausalLM": "text-generation",
    "ForImageClassification": "image-classification",
    "Model": "feature-extraction",
}


def model_info(repository: Repository, commit: Commit, blobs: bool = False) -> dict:
    """Answer of /api/models/<id>."""
    readme = commit.files.get("README.md", StoredFile(b"", False)).content.decode(errors="replace")
    card, config = card_of(readme), _config(commit)
    library = card.get("library_name", "transformers" if config else None)
    task = card.get("pipeline_tag", _task(config))
    info = {
        "_id": hashlib.sha1(repository.id.encode()).hexdigest()[:24],
        "id": repository.id,
        "modelId": repository.id,
        "author": repository.id.split("/")[0],
        "sha": commit.oid,
        "lastModified": _date(commit),
        "createdAt": _date(commit.history()[-1]),
        "private": repository.private,
        "gated": False,
        "disabled": False,
        "downloads": 0,
        "likes": 0,
        "library_name": library,
        "pipeline_tag": task,
        "tags": _tags(card, config, library, task),
        "cardData": card or None,
        "model-index": card.get("model-index"),
        "config": {key: config[key] for key in ("architectures", "model_type", "auto_map") if key in config},
        "safetensors": _parameters(commit),
        "siblings": [
            {"rfilename": path, **(_blob(file) if blobs else {})} for path, file in sorted(commit.files.items())
        ],
        "usedStorage": sum(map(len, repository.objects.values())),
    }
    return {name: value for name, value in info.items() if value is not None}


def tree(commit: Commit, folder: str, recursive: bool, expand: bool) -> list[dict]:
    """Answer of /api/models/<id>/tree: the files and folders in a folder; empty for a folder that is not there."""
    prefix = f"{folder}/" if folder else ""
    entries: dict[str, dict] = {}
    for path in sorted(commit.files):
        if not path.startswith(prefix):
            continue
        *above, _ = path.removeprefix(prefix).split("/")
        for depth in range(1, len(above) + 1) if recursive else above[:1] and (1,):
            name = prefix + "/".join(above[:depth])
            entries[name] = {
                "type": "directory",
                "oid": hashlib.sha1(name.encode()).hexdigest(),
                "size": 0,
                "path": name,
            }
        if recursive or not above:
            entries[path] = file_entry(commit, path, expand)
    return list(entries.values())


def file_entry(commit: Commit, path: str, expand: bool = False) -> dict:
    file = commit.files[path]
    entry = {"type": "file", "oid": file.blob_id, "size": len(file.content), "path": path}
    if file.lfs:
        entry["lfs"] = {"oid": file.sha256, "size": len(file.content), "pointerSize": len(file.pointer)}
    if expand:
        changes = [one for one in commit.history() if path in one.files and one.files[path] == file]
        entry["lastCommit"] = {"id": changes[-1].oid, "title": changes[-1].title, "date": _date(changes[-1])}
    return entry


def references(repository: Repository, pull_requests: bool) -> dict:
    """Answer of /api/models/<id>/refs."""

    def listed(refs: dict[str, Commit], prefix: str) -> list[dict]:
        return [{"name": name, "ref": prefix + name, "targetCommit": commit.oid} for name, commit in refs.items()]

    answer = {
        "branches": listed(repository.branches, "refs/heads/"),
        "tags": listed(repository.tags, "refs/tags/"),
        "converts": [],
    }
    return {**answer, "pullRequests": listed(repository.pull_requests, "")} if pull_requests else answer


def commits(commit: Commit) -> list[dict]:
    """Answer of /api/models/<id>/commits."""
    return [
        {
            "id": one.oid,
            "title": one.title,
            "message": one.description,
            "authors": [{"user": one.author}],
            "date": _date(one),
        }
        for one in commit.history()
    ]


def _date(commit: Commit) -> str:
    return commit.date.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def _config(commit: Commit) -> dict:
    try:
        return json.loads(commit.files["config.json"].content)
    except (KeyError, ValueError):
        return {}


def _task(config: dict) -> str | None:
    for name in config.get("architectures") or ():
        for ending, task in TASK_OF_CLASS.items():
            if name.endswith(ending):
                return task
    return None


def _tags(card: dict, config: dict, library: str | None, task: str | None) -> list[str]:
    tags = [library, config.get("model_type"), task, *card.get("tags", [])]
    for field, name in (("license", "license"), ("datasets", "dataset"), ("base_model", "base_model")):
        values = card.get(field, [])
        tags += [f"{name}:{value}" for value in (values if isinstance(values, list) else [values])]
    if "auto_map" in config:
        tags.append("custom_code")
    return list(dict.fromkeys(tag for tag in tags if tag))


def _blob(file: StoredFile) -> dict:
    lfs = {"sha256": file.sha256, "size": len(file.content), "pointerSize": len(file.pointer)}
    return {"size": len(file.content), "blobId": file.blob_id, **({"lfs": lfs} if file.lfs else {})}


def _parameters(commit: Commit) -> dict | None:
    counts: Counter[str] = Counter()
    for path, file in commit.files.items():
        if "/" in path or not path.endswith(".safetensors"):
            continue
        try:
            header = json.loads(file.content[8 : 8 + int.from_bytes(file.content[:8], "little")])
        except ValueError:
            continue  # no such file: the Hub says nothing about it
        for name, tensor in header.items():
            if name != "__metadata__":
                counts[tensor["dtype"]] += prod(tensor["shape"])
    return {"parameters": dict(counts), "total": counts.total()} if counts else None
