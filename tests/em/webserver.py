"""A web server on the loopback interface whose answers a test scripts."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Answer = Callable[[BaseHTTPRequestHandler], None]


class WebServer:
    """Answers by path; what it was asked is in `asked`, as 'METHOD path'."""

    def __init__(self, server: ThreadingHTTPServer) -> None:
        self._server = server
        self.port = server.server_port
        self.answers: dict[str, Answer] = {}
        self.asked: list[str] = []

    def encrypt(self, context: ssl.SSLContext) -> None:
        """Speaks TLS from now on."""
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)

    def uri(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def serve(self, path: str, data: bytes, *, size: int | None = None, code: int = 200, **headers: str) -> str:
        """Answers a path with bytes; `size` is announced instead of the real one."""

        def answer(request: BaseHTTPRequestHandler) -> None:
            request.send_response(code)
            request.send_header("Content-Length", str(len(data) if size is None else size))
            for name, value in headers.items():
                request.send_header(name.replace("_", "-"), value)
            request.end_headers()
            if request.command == "GET":
                request.wfile.write(data)

        self.answers[path] = answer
        return self.uri(path)

    def redirect(self, path: str, location: str, code: int = 302) -> str:
        return self.serve(path, b"", code=code, Location=location)


@contextmanager
def web_server() -> Iterator[WebServer]:
    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            running.asked.append(f"{self.command} {self.path}")
            self.close_connection = True
            reply = running.answers.get(self.path)
            if reply is None:
                self.send_error(404)
            else:
                reply(self)

        do_GET = do_HEAD = answer  # noqa: N815 - names that http.server looks for

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    running = WebServer(server)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield running
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
