"""Routes that make, change and delete repositories, branches and tags."""

from tests.hub.messages import HubError, Request, Response
from tests.hub.repositories import Repositories
from tests.hub.routing import route, writable, writer


@route("POST", "/api/repos/create")
def create_repository(repositories: Repositories, request: Request) -> Response:
    repo_id, asked = _named(request), request.json()
    if asked.get("type", "model") != "model":
        raise HubError(400, "This Hub holds models only")
    found = {"url": f"{request.origin}/{repo_id}", "name": repo_id}
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


def _named(request: Request) -> str:
    """Id of the repository that a request's JSON names; its namespace is the user's own unless it says otherwise."""
    user, asked = writer(request), request.json()
    namespace = asked.get("organization") or user
    if not request.account.belongs_to(namespace):
        raise HubError(403, f'You don\'t have the rights to create a model under the namespace "{namespace}"')
    return f"{namespace}/{asked['name']}"
