"""The HTTP server: reads requests to their end, sends answers, drops connections, and keeps the log."""

import socket
import struct
import sys
import threading
import traceback
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

from tests.hub import managing, reading, uploading
from tests.hub.accounts import Account, usual_accounts
from tests.hub.faults import DropUpload, Fault, Faults
from tests.hub.messages import ConnectionDroppedError, HubError, Request, Response
from tests.hub.repositories import Repositories
from tests.hub.routing import answer

ROUTES = (reading, managing, uploading)  # importing them has registered their routes

# The client asks for this once per cache, whatever it is about to do: kept out of the log and away from faults.
ASKED_FIRST = "/api/agent-harnesses"


@dataclass
class Exchange:
    """One line of the log. It is up to date before the client can read what it tells of."""

    method: str
    path: str  # decoded, without the query
    query: str
    user: str | None = None
    range: str | None = None  # what the Range header asked for
    status: int | None = None  # None: no answer was sent
    received: int = 0  # bytes, head and body
    sent: int = 0


class HubServer(ThreadingHTTPServer):
    """The state that all connections share."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        self.repositories = Repositories()
        self.accounts: dict[str, Account] = usual_accounts()
        self.faults = Faults()
        self.exchanges: list[Exchange] = []
        self.errors: list[str] = []  # tracebacks: the server's own mistakes
        self.closing = threading.Event()

    def handle_error(self, request: object, client_address: object) -> None:
        if not isinstance(sys.exception(), ConnectionError):  # a client may go away at any time
            self.errors.append(traceback.format_exc())


class _Connection(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: HubServer

    def serve(self) -> None:
        url = urlsplit(self.path)
        exchange = Exchange(self.command, unquote(url.path), url.query, range=self.headers["range"])
        exchange.received = len(self.raw_requestline) + len(bytes(self.headers))
        fault = Fault()
        if exchange.path != ASKED_FIRST:
            self.server.exchanges.append(exchange)
            fault = self.server.faults.take(self.command, exchange.path)
        try:
            body = self._read_body(exchange, fault.after if isinstance(fault, DropUpload) else None)
            response = fault.respond(lambda: self._respond(exchange, url.path, body))
            self._send(exchange, response)
        except ConnectionDroppedError as drop:
            self._close(drop.reset)
        except ConnectionError:  # the client went away
            self._close(reset=False)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = serve

    def log_message(self, format: str, *arguments: object) -> None:
        """The log is `exchanges`; nothing goes to the terminal."""

    def _respond(self, exchange: Exchange, path: str, body: bytes) -> Response:
        token = self.headers.get("authorization", "").removeprefix("Bearer ")
        account = self.server.accounts.get(token)
        if token and account is None:
            return HubError(401, "Invalid credentials in Authorization header").response()
        exchange.user = account and account.user
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(exchange.method, path, parse_qs(exchange.query), headers, body, account)
        try:
            return answer(self.server.repositories, request)
        except Exception:
            self.server.errors.append(traceback.format_exc())
            return HubError(500, "Internal Error - the simulated Hub has a mistake").response()

    def _read_body(self, exchange: Exchange, limit: int | None) -> bytes:
        """The whole body; up to `limit` bytes where the connection is to be dropped on the way."""
        if "transfer-encoding" in self.headers:
            raise NotImplementedError("the client has always told the length of what it sends")
        size = int(self.headers.get("content-length", 0))
        body = self.rfile.read(size if limit is None else min(size, limit))
        exchange.received += len(body)
        if limit is not None or len(body) < size:
            raise ConnectionDroppedError
        return body

    def _send(self, exchange: Exchange, response: Response) -> None:
        self.server.closing.wait(response.delay)
        head = [f"HTTP/1.1 {response.status} {HTTPStatus(response.status).phrase}"]
        head += [f"{name}: {value}" for name, value in response.headers.items()]
        head += [f"Content-Length: {len(response.body)}", f"Date: {self.date_time_string()}"]
        exchange.status = response.status
        self._write(exchange, "\r\n".join([*head, "", ""]).encode("latin-1", "replace"))
        body = response.body[: response.drop_after]
        for start in range(0, len(body) if exchange.method != "HEAD" else 0, response.chunk):
            self.server.closing.wait(response.pause)
            self._write(exchange, body[start : start + response.chunk])
        if response.drop_after is not None:
            self._close(response.reset)

    def _write(self, exchange: Exchange, data: bytes) -> None:
        exchange.sent += len(data)
        self.wfile.write(data)

    def _close(self, reset: bool) -> None:
        self.close_connection = True
        if reset:  # closing without lingering sends RST in place of FIN
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
