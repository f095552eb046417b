"""Routes that change something: repositories, branches, tags, uploads and commits."""

import base64
import hashlib
import json
from types import MappingProxyType

from tests.hub.messages import HubError, Request, Response
from tests.hub.repositories import Commit, Repositories, Repository, StoredFile, is_large
from tests.hub.routing import readable, route, writable, writer

LFS_JSON = {"Content_Type": "application/vnd.git-lfs+json"}


def _origin(request: Request) -> str:
    return f"http://{request.headers['host']}"


def _named(request: Request) -> str:
    """Id of the repository that a request's JSON names; its namespace is the user's own unless it says otherwise."""
    user, asked = writer(request), request.json()
    namespace = asked.get("organization") or user
    if not request.account.belongs_to(namespace):
        raise HubError(403, f'You don\'t have the rights to create a model under the namespace "{namespace}"')
    return f"{namespace}/{asked['name']}"


@route("POST", "/api/repos/create")
def create_repository(repositories: Repositories, request: Request) -> Response:
    repo_id, asked = _named(request), request.json()
    if asked.get("type", "model") != "model":
        raise HubError(400, "This Hub holds models only")
    found = {"url": f"{_origin(request)}/{repo_id}", "name": repo_id}
    if repo_id in repositories:
        return Response.of_json({"error": "You already created this model repo", **found}, 409)
    repositories.create(repo_id, asked.get("visibility") == "private" or asked.get("private") is True)
    return Response.of_json(found)


@route("DELETE", "/api/repos/delete")
def delete_repository(repositories: Repositories, request: Request) -> Response:
    repositories.delete(_named(request))
    return Response.of_json({})


@route("PUT", "/api/models/{repo}/settings")
def change_settings(repositories: Repositories, request: Request, repo: str) -> Response:
    repository, asked = writable(repositories, request, repo), request.json()
    if "visibility" in asked:
        repository.private = asked["visibility"] == "private"
    return Response.of_json({"private": repository.private})


@route("GET", "/api/models/{repo}/auth-check/write")
def check_write_access(repositories: Repositories, request: Request, repo: str) -> Response:
    writable(repositories, request, repo)
    return Response.of_json({})


@route("POST", "/api/models/{repo}/branch/{branch}")
def create_branch(repositories: Repositories, request: Request, repo: str, branch: str) -> Response:
    repository = writable(repositories, request, repo)
    if branch in repository.branches:
        raise HubError(409, f"Reference already exists: refs/heads/{branch}")
    repository.branches[branch] = repository.resolve(request.json().get("startingPoint", "main"))
    return Response.of_json({}, 201)


@route("DELETE", "/api/models/{repo}/{kind}/{name}")
def delete_reference(repositories: Repositories, request: Request, repo: str, kind: str, name: str) -> Response:
    repository = writable(repositories, request, repo)
    refs = repository.tags if kind == "tag" else repository.branches
    if name not in refs:
        raise HubError(404, f"Reference not found: {name}", "RevisionNotFound")
    del refs[name]
    return Response.of_json({})


@route("POST", "/api/models/{repo}/tag/{revision}")
def create_tag(repositories: Repositories, request: Request, repo: str, revision: str) -> Response:
    repository, tag = writable(repositories, request, repo), request.json()["tag"]
    if tag in repository.tags:
        raise HubError(409, f"Tag reference exists already: {tag}")
    repository.tags[tag] = repository.resolve(revision)
    return Response.of_json({}, 201)


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
            verify = {"href": f"{_origin(request)}/{repo}.git/info/lfs/verify"}
            entry["actions"] = {
                "upload": {"href": f"{_origin(request)}/storage/{repo}/{wanted['oid']}"},
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
    answer = {"success": True, "commitOid": made.oid, "commitUrl": f"{_origin(request)}/{repo}/commit/{made.oid}"}
    if proposed:
        number = len(repository.pull_requests) + 1
        revision = f"refs/pr/{number}"
        repository.pull_requests[revision] = parent
        answer["pullRequestUrl"] = f"{_origin(request)}/{repo}/discussions/{number}"
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
