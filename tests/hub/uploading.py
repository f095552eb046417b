"""Routes by which files become a commit: upload modes, LFS objects, and the commit itself."""

import base64
import hashlib
import json
from types import MappingProxyType

from tests.hub.messages import HubError, Request, Response
from tests.hub.repositories import Commit, Repositories, Repository
from tests.hub.routing import readable, route, writable
from tests.hub.stored_file import StoredFile, is_large

LFS_JSON = {"Content_Type": "application/vnd.git-lfs+json"}


@route("POST", "/api/models/{repo}/preupload/{revision}")
def choose_upload_modes(repositories: Repositories, request: Request, repo: str, revision: str) -> Response:
    repository = writable(repositories, request, repo, pull_request=request.asks_for("create_pr"))
    there = repository.resolve(revision).files
    modes = []
    for file in request.json()["files"]:
        path = file["path"]
        large = is_large(path, file["size"], base64.b64decode(file["sample"]))
        known = {"oid": there[path].etag} if path in there else {}
        modes.append({"path": path, "uploadMode": "lfs" if large else "regular", "shouldIgnore": False, **known})
    return Response.of_json({"files": modes})


@route("POST", "/{repo}.git/info/lfs/objects/batch")
def agree_on_objects(repositories: Repositories, request: Request, repo: str) -> Response:
    asked = request.json()
    repository = writable(repositories, request, repo, pull_request="ref" not in asked)
    objects = []
    for wanted in asked["objects"]:
        entry = {"oid": wanted["oid"], "size": wanted["size"]}
        if wanted["oid"] not in repository.objects:
            repository.awaited.add(wanted["oid"])
            verify = {"href": f"{request.origin}/{repo}.git/info/lfs/verify"}
            entry["actions"] = {
                "upload": {"href": f"{request.origin}/storage/{repo}/{wanted['oid']}"},
                "verify": verify,
            }
        objects.append(entry)
    return Response.of_json({"transfer": "basic", "objects": objects}, **LFS_JSON)


@route("PUT", "/storage/{repo}/{oid}")
def store_object(repositories: Repositories, request: Request, repo: str, oid: str) -> Response:
    """Stands for a pre-signed address of a storage service: it asks for no token."""
    repository = repositories[repo]
    if oid not in repository.awaited:
        raise HubError(403, "No upload of this object was agreed on")
    if hashlib.sha256(request.body).hexdigest() != oid:
        raise HubError(400, "The content does not have the announced sha256")
    repository.objects[oid] = request.body
    return Response(headers={"ETag": f'"{oid}"'})


@route("POST", "/{repo}.git/info/lfs/verify")
def verify_object(repositories: Repositories, request: Request, repo: str) -> Response:
    asked = request.json()
    stored = readable(repositories, request, repo).objects.get(asked["oid"])
    if stored is None or len(stored) != asked["size"]:
        raise HubError(404, "The object is not there, or not of this size")
    return Response.of_json({}, **LFS_JSON)


@route("POST", "/api/models/{repo}/commit/{revision}")
def commit(repositories: Repositories, request: Request, repo: str, revision: str) -> Response:
    """All of the operations or, at the first that does not work, none."""
    proposed = request.asks_for("create_pr")
    repository = writable(repositories, request, repo, pull_request=proposed)
    parent = repository.resolve(revision)
    if not proposed and revision not in {**repository.branches, **repository.pull_requests}:
        raise HubError(400, f"Commits go to branches, and {revision} is none")
    operations = [json.loads(line) for line in request.body.splitlines() if line.strip()]
    header = next(one["value"] for one in operations if one["key"] == "header")
    if header.get("parentCommit", parent.oid) != parent.oid:
        raise HubError(412, "A commit has happened since. Please refresh and try again.")
    files = dict(parent.files)
    for operation in operations:
        _apply(repository, files, operation["key"], operation["value"])
    title = header["summary"]
    made = Commit(parent, title, MappingProxyType(files), request.account.user, header.get("description", ""))
    answer = {"success": True, "commitOid": made.oid, "commitUrl": f"{request.origin}/{repo}/commit/{made.oid}"}
    if proposed:
        number = len(repository.pull_requests) + 1
        revision = f"refs/pr/{number}"
        repository.pull_requests[revision] = parent
        answer["pullRequestUrl"] = f"{request.origin}/{repo}/discussions/{number}"
    repository.advance(revision, made)
    return Response.of_json(answer)


def _apply(repository: Repository, files: dict[str, StoredFile], key: str, value: dict) -> None:
    path = value.get("path", "")
    if key == "file":
        files[path] = StoredFile(base64.b64decode(value["content"]), lfs=False)
    elif key == "lfsFile":
        content = repository.objects.get(value["oid"])
        if content is None or value.get("size", len(content)) != len(content):
            raise HubError(400, f"LFS pointer of {path} points to an object that was not uploaded")
        files[path] = StoredFile(content, lfs=True)
    elif key in ("deletedFile", "deletedFolder"):
        gone = [
            one for one in files if one == path or (key == "deletedFolder" and one.startswith(path.rstrip("/") + "/"))
        ]
        if not gone:
            raise HubError(404, f"A file with this name doesn't exist: {path}", "EntryNotFound")
        for one in gone:
            del files[one]
    elif key != "header":
        raise HubError(400, f"Unknown operation: {key}")
