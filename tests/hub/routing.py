"""From a request to the function that answers it, and who may have what answered."""

import re
from collections.abc import Callable
from urllib.parse import unquote

from tests.hub.messages import HubError, Request, Response
from tests.hub.repositories import Repositories, Repository

Answer = Callable[..., Response]
SHAPES = {"repo": "[^/]+(?:/[^/]+)?", "path": ".+"}

_routes: list[tuple[str, re.Pattern[str], Answer]] = []


def route(method: str, template: str) -> Callable[[Answer], Answer]:
    """Register `function(repositories, request, **named parts of the path)`; the first template that fits wins."""
    pattern = re.sub(r"{(\w+)}", lambda part: f"(?P<{part[1]}>{SHAPES.get(part[1], '[^/]+')})", template)

    def register(function: Answer) -> Answer:
        _routes.append((method, re.compile(pattern), function))
        return function

    return register


def answer(repositories: Repositories, request: Request) -> Response:
    """Carry a request out. HEAD is GET whose body is not sent."""
    method = "GET" if request.method == "HEAD" else request.method
    for allowed, pattern, function in _routes:
        match = pattern.fullmatch(request.path)
        if allowed == method and match:
            parts = {name: unquote(part) for name, part in match.groupdict().items()}
            with repositories.lock:
                try:
                    return function(repositories, request, **parts)
                except HubError as error:
                    return error.response()
    return HubError(404, f"Sorry, we can't find the page you are looking for: {method} {request.path}").response()


def readable(repositories: Repositories, request: Request, repo_id: str) -> Repository:
    """The repository, if the sender may know of it; a private one and a missing one answer alike."""
    if repo_id in repositories:
        repository = repositories[repo_id]
        if not repository.private or (request.account and request.account.belongs_to(repo_id.split("/")[0])):
            return repository
    if request.account is None:
        # the client takes a 401 for "no such repository" by itself, but only under https
        raise HubError(401, "Invalid username or password.", "RepoNotFound")
    raise HubError(404, "Repository not found", "RepoNotFound")


def writer(request: Request) -> str:
    """User who sent the request with a token that may write."""
    if request.account is None:
        raise HubError(401, "Invalid username or password.")
    if request.account.role != "write":
        raise HubError(403, "Forbidden: you must use a write token to upload to a repository.")
    return request.account.user


def writable(repositories: Repositories, request: Request, repo_id: str, pull_request: bool = False) -> Repository:
    """The repository, if the sender may change it; anyone with a write token may propose a change."""
    repository = readable(repositories, request, repo_id)
    writer(request)
    if not pull_request and not request.account.belongs_to(repo_id.split("/")[0]):
        raise HubError(403, "Forbidden: pass `create_pr=1` as a query parameter to create a Pull Request")
    return repository
