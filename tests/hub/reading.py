"""Routes that change nothing: who am I, model info, trees, references, files, the check of model cards."""

import re
from urllib.parse import parse_qs

from tests.hub.descriptions import commits, file_entry, model_info, references, tree
from tests.hub.messages import HubError, Request, Response
from tests.hub.model_card import check_card
from tests.hub.repositories import Repositories
from tests.hub.routing import readable, route


@route("GET", "/api/whoami-v2")
def whoami(repositories: Repositories, request: Request) -> Response:
    if request.account is None:
        raise HubError(401, "Invalid username or password.")
    return Response.of_json(request.account.description())


@route("GET", "/api/agent-harnesses")
def list_harnesses(repositories: Repositories, request: Request) -> Response:
    return Response.of_json({"standardEnvVars": [], "harnesses": {}})


@route("POST", "/api/validate-yaml")
def validate_yaml(repositories: Repositories, request: Request) -> Response:
    errors, warnings = check_card(request.json().get("content", ""))
    found = {
        name: [{"message": text} for text in texts] for name, texts in (("errors", errors), ("warnings", warnings))
    }
    return Response.of_json(found, 400 if errors else 200)


@route("GET", "/api/models/{repo}/refs")
def list_references(repositories: Repositories, request: Request, repo: str) -> Response:
    repository = readable(repositories, request, repo)
    return Response.of_json(references(repository, request.asks_for("include_prs")))


@route("GET", "/api/models/{repo}/commits/{revision}")
def list_commits(repositories: Repositories, request: Request, repo: str, revision: str) -> Response:
    return Response.of_json(commits(readable(repositories, request, repo).resolve(revision)))


@route("GET", "/api/models/{repo}/discussions")
def list_discussions(repositories: Repositories, request: Request, repo: str) -> Response:
    readable(repositories, request, repo)
    return Response.of_json({"discussions": [], "count": 0, "start": 0})


@route("GET", "/api/models/{repo}/tree/{revision}")
@route("GET", "/api/models/{repo}/tree/{revision}/{path}")
def list_tree(repositories: Repositories, request: Request, repo: str, revision: str, path: str = "") -> Response:
    commit = readable(repositories, request, repo).resolve(revision)
    entries = tree(commit, path.strip("/"), request.asks_for("recursive"), request.asks_for("expand"))
    if path and not entries:
        raise HubError(404, f"{path} does not exist on {revision}", "EntryNotFound")
    return Response.of_json(entries)


@route("POST", "/api/models/{repo}/paths-info/{revision}")
def paths_info(repositories: Repositories, request: Request, repo: str, revision: str) -> Response:
    commit = readable(repositories, request, repo).resolve(revision)
    form = parse_qs(request.body.decode())
    expand = form.get("expand", ["false"])[0].lower() == "true"
    return Response.of_json(
        [file_entry(commit, path, expand) for path in form.get("paths", []) if path in commit.files]
    )


@route("GET", "/api/models/{repo}/auth-check")
def check_access(repositories: Repositories, request: Request, repo: str) -> Response:
    readable(repositories, request, repo)
    return Response.of_json({})


@route("GET", "/api/models/{repo}/revision/{revision}")
@route("GET", "/api/models/{repo}")
def describe(repositories: Repositories, request: Request, repo: str, revision: str = "main") -> Response:
    repository = readable(repositories, request, repo)
    info = model_info(repository, repository.resolve(revision), request.asks_for("blobs"))
    if wanted := request.query.get("expand", request.query.get("expand[]")):
        info = {name: info[name] for name in ("_id", "id", *wanted) if name in info}
    return Response.of_json(info)


@route("GET", "/{repo}/resolve/{revision}/{path}")
def download(repositories: Repositories, request: Request, repo: str, revision: str, path: str) -> Response:
    commit = readable(repositories, request, repo).resolve(revision)
    file = commit.files.get(path)
    if file is None:
        raise HubError(404, "Entry not found", "EntryNotFound", X_Repo_Commit=commit.oid)
    headers = {
        "Content-Type": "application/octet-stream" if file.lfs else "text/plain; charset=utf-8",
        "ETag": f'"{file.etag}"',
        "X-Repo-Commit": commit.oid,
        "Accept-Ranges": "bytes",
    }
    if file.lfs:
        headers |= {"X-Linked-Etag": f'"{file.etag}"', "X-Linked-Size": str(len(file.content))}
    return _part(file.content, request.headers.get("range", ""), headers)


def _part(content: bytes, wanted: str, headers: dict[str, str]) -> Response:
    """The one range of bytes asked for: from a to b, from a on, or the last so many; else everything."""
    size = len(content)
    match = re.fullmatch(r"\s*bytes\s*=\s*(\d*)\s*-\s*(\d*)\s*", wanted)
    if match is None or match.groups() == ("", ""):
        return Response(content, headers=headers)
    first, last = match.groups()
    if not first:
        start, stop = max(0, size - int(last)), size
    else:
        start, stop = int(first), min(size, int(last) + 1 if last else size)
    if start >= stop:
        raise HubError(416, "Range Not Satisfiable", Content_Range=f"bytes */{size}")
    return Response(content[start:stop], 206, headers | {"Content-Range": f"bytes {start}-{stop - 1}/{size}"})
