"""A server whose every answer a test decides, on a free port of 127.0.0.1, in this process."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from attrs import define, field, frozen
from typing_extensions import Self

from t9k.em import wire

VERSION = {
    "service": "aistore",
    "api": 1,
    "version": "0",
    "abilities": ["parts"],
    "limits": {"bodyBytes": 5 << 20, "documentBytes": 1 << 20, "page": 3, "filesPage": 3, "parallel": 5},
}


@frozen(kw_only=True)
class Request:
    """What came."""

    method: str
    path: str
    query: dict[str, str]
    headers: Mapping[str, str]
    body: bytes

    @property
    def what(self) -> str:
        """The path after the prefix of the API."""
        return self.path.partition(wire.PREFIX)[2]


@frozen(kw_only=True)
class Reply:
    """What is answered."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(factory=dict)
    drop: bool = False
    """Whether the connection ends without an answer."""
    announced: int | None = None
    """Its Content-Length, where it is not that of the body; then the connection ends after the body."""


def as_json(value: Any, status: int = 200, **headers: str) -> Reply:
    found = {name.replace("_", "-"): text for name, text in headers.items()}
    return Reply(status=status, body=json.dumps(value).encode(), headers={"Content-Type": "application/json", **found})


def an_error(code: str, message: str = "so it is", **headers: str) -> Reply:
    status = wire.CODES[code].status if code in wire.CODES else 418
    return as_json(wire.error_json(code, message, "1"), status, **headers)


DROP = Reply(drop=True)
PAGE = Reply(body=b"<html>Welcome</html>", headers={"Content-Type": "text/html"})


@define
class Scripted:
    """The server; `answers` gives the answer to each request but those for the version and the user."""

    answers: Callable[[Request], Reply] = lambda _: an_error("not_found")
    version: Reply = field(factory=lambda: as_json(VERSION))
    user: Reply = field(factory=lambda: as_json({"name": "alice", "isAdmin": False, "groups": []}))
    tls: ssl.SSLContext | None = None
    requests: list[Request] = field(factory=list)

    @property
    def port(self) -> int:
        return self._server.server_address[1]

    @property
    def url(self) -> str:
        return f"http{'s' if self.tls else ''}://localhost:{self.port}"

    def asked(self, what: str) -> list[Request]:
        return [request for request in self.requests if request.what == what]

    def answer(self, request: Request) -> Reply:
        self.requests.append(request)
        if request.what == "/version":
            return self.version
        return self.user if request.what == "/user" else self.answers(request)

    def __enter__(self) -> Self:
        scripted = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one_request(self) -> None:
                try:
                    super().handle_one_request()
                except OSError:  # the client went away
                    self.close_connection = True

            def respond(self) -> None:
                parts = urlsplit(self.path)
                query = {name: values[-1] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                headers = {name.lower(): value for name, value in self.headers.items()}
                request = Request(method=self.command, path=parts.path, query=query, headers=headers, body=body)
                reply = scripted.answer(request)
                if reply.drop:
                    self.close_connection = True
                    return
                self.send_response_only(reply.status)
                for name, value in reply.headers.items():
                    self.send_header(name, value)
                size = len(reply.body) if reply.announced is None else reply.announced
                if reply.status != 204:
                    self.send_header("Content-Length", str(size))
                self.end_headers()
                self.wfile.write(reply.body)
                if reply.announced is not None:
                    self.close_connection = True

            do_GET = do_PUT = do_POST = do_DELETE = respond  # noqa: N815 - so they are called
            do_HEAD = do_PROPFIND = do_MKCOL = do_MOVE = respond  # noqa: N815 - likewise

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def get_request(self) -> tuple[socket.socket, Any]:
                connection, address = super().get_request()
                return (scripted.tls.wrap_socket(connection, server_side=True) if scripted.tls else connection), address

            def handle_error(self, *_: object) -> None:
                pass

        self._server = Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    _server: ThreadingHTTPServer = field(init=False)
    _thread: threading.Thread = field(init=False)
