"""Things that go wrong on a network and on a server, for a test to switch on."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase

from tests.hub.messages import ConnectionDroppedError, HubError, Response


@dataclass(frozen=True)
class Fault:
    """What happens in place of, or to, one answer. `carry_out` does what the request asks for."""

    def respond(self, carry_out: Callable[[], Response]) -> Response:
        return carry_out()


@dataclass(frozen=True)
class Status(Fault):
    """An error status; the request is not carried out."""

    code: int
    message: str = "Fault of the test"
    retry_after: int | None = None  # seconds, as a header

    def respond(self, carry_out: Callable[[], Response]) -> Response:
        headers = {} if self.retry_after is None else {"Retry_After": str(self.retry_after)}
        return HubError(self.code, self.message, **headers).response()


@dataclass(frozen=True)
class Drop(Fault):
    """The connection closes after so many bytes of the answer's body, or without any answer.

    Without an answer, `carried_out` says whether the request was, none the less, carried out. `reset` is the rude
    way to close: the client reads "connection reset by peer" where it would read an early end.
    """

    after: int | None = None
    reset: bool = False
    carried_out: bool = False

    def respond(self, carry_out: Callable[[], Response]) -> Response:
        if self.after is None:
            if self.carried_out:
                carry_out()
            raise ConnectionDroppedError(self.reset)
        return replace(carry_out(), drop_after=self.after, reset=self.reset)


@dataclass(frozen=True)
class DropUpload(Fault):
    """The connection closes after so many bytes of the request's body were read."""

    after: int = 0


@dataclass(frozen=True)
class Shorten(Fault):
    """Only the first bytes of the body, under headers that fit them: nothing in the answer itself tells."""

    size: int

    def respond(self, carry_out: Callable[[], Response]) -> Response:
        response = carry_out()
        if "X-Linked-Size" in response.headers:
            response.headers["X-Linked-Size"] = str(min(self.size, len(response.body)))
        return replace(response, body=response.body[: self.size])


@dataclass(frozen=True)
class WrongETag(Fault):
    """The ETag of another file."""

    etag: str = "0" * 40

    def respond(self, carry_out: Callable[[], Response]) -> Response:
        response = carry_out()
        for name in response.headers.keys() & {"ETag", "X-Linked-Etag"}:
            response.headers[name] = f'"{self.etag}"'
        return response


@dataclass(frozen=True)
class WrongBytes(Fault):
    """The right length, but from `start` to before `stop` every bit is flipped."""

    start: int = 0
    stop: int | None = None

    def respond(self, carry_out: Callable[[], Response]) -> Response:
        response = carry_out()
        body = bytearray(response.body)
        body[self.start : self.stop] = bytes(255 - byte for byte in body[self.start : self.stop])
        return replace(response, body=bytes(body))


@dataclass(frozen=True)
class Slow(Fault):
    """Seconds of silence between the work and the answer's first byte, and before each chunk of its body."""

    before: float = 0.0
    pause: float = 0.0
    chunk: int = 1 << 14  # bytes

    def respond(self, carry_out: Callable[[], Response]) -> Response:
        return replace(carry_out(), delay=self.before, pause=self.pause, chunk=self.chunk)


@dataclass
class Rule:
    """A fault, and the requests that it befalls."""

    method: str
    path: str  # with * and ?, against the decoded path without its query
    fault: Fault
    times: int | None = 1  # so many requests, then no more; None is for good
    hits: int = 0

    def befalls(self, method: str, path: str) -> bool:
        spent = self.times is not None and self.hits >= self.times
        return not spent and fnmatchcase(method, self.method) and fnmatchcase(path, self.path)


@dataclass
class Faults:
    """The faults switched on; a request gets the first that fits."""

    rules: list[Rule] = field(default_factory=list)

    def take(self, method: str, path: str) -> Fault:
        for rule in self.rules:
            if rule.befalls(method, path):
                rule.hits += 1
                return rule.fault
        return Fault()
