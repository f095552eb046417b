"""What goes over the wire: requests, responses, and errors as the Hub words them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.hub.accounts import Account


@dataclass(frozen=True)
class Request:
    """A request that was read to its end."""

    method: str
    path: str  # still percent-encoded: a revision may hold an encoded slash
    query: Mapping[str, list[str]]
    headers: Mapping[str, str]
    body: bytes
    account: Account | None

    @property
    def origin(self) -> str:
        """Under which address the client knows this server."""
        return f"http://{self.headers['host']}"

    def asks_for(self, flag: str) -> bool:
        """Whether a boolean of the query string is on."""
        return self.query.get(flag, ["false"])[0].lower() in ("1", "true")

    def json(self) -> dict:
        return json.loads(self.body or b"{}")


@dataclass
class Response:
    """An answer, and how to send it: faults change the last five fields."""

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    drop_after: int | None = None  # close the connection after so many bytes of the body
    reset: bool = False  # close it rudely: the client reads "connection reset" and not an early end
    delay: float = 0.0  # seconds before the first byte
    chunk: int = 1 << 20
    pause: float = 0.0  # seconds before each chunk of the body

    @classmethod
    def of_json(cls, content: object, status: int = 200, **headers: str) -> "Response":
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        body = json.dumps(content, default=str).encode()
        return cls(body, status, {"Content-Type": "application/json; charset=utf-8", **named})


class HubError(Exception):
    """Answered as JSON; `code` becomes X-Error-Code, from which the client chooses its exception."""

    def __init__(self, status: int, message: str, code: str | None = None, **headers: str) -> None:
        super().__init__(message)
        self.status, self.message, self.code, self.headers = status, message, code, headers

    def response(self) -> Response:
        headers = {"X_Error_Message": self.message, **self.headers}
        if self.code is not None:
            headers["X_Error_Code"] = self.code
        return Response.of_json({"error": self.message}, self.status, **headers)


class ConnectionDroppedError(Exception):
    """No answer at all: the connection is closed."""

    def __init__(self, reset: bool = False) -> None:
        super().__init__("the connection is dropped on purpose")
        self.reset = reset
