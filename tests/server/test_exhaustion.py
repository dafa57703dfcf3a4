"""What one client may take from all others: memory, time, connections."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import anyio
import pytest
import uvicorn
from tests.server.sending import document, upload
from tests.services.aistore import AIStorePlace, Someone, aistore

from t9k.em.server.app import THREADS
from t9k.em.server.http import connections, limits
from t9k.em.server.http.connections import BoundedConnection
from t9k.em.server.http.limits import TooSlow, timely


def connected(server: AIStorePlace) -> socket.socket:
    parts = urlsplit(server.url)
    connection = socket.create_connection((parts.hostname or "", parts.port or 0), timeout=30)
    connection.settimeout(30)
    return connection


def head(target: str, size: int, key: str = "", method: str = "POST") -> bytes:
    authorization = f"Authorization: Bearer {key}\r\n" if key else ""
    return (
        f"{method} /apis/v1/{target} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        f"{authorization}Content-Length: {size}\r\n\r\n"
    ).encode()


def memory_bytes(server: AIStorePlace) -> int:
    assert server.process is not None
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) << 10


class TestDocuments:
    @pytest.mark.parametrize("target", ["uploads", "folders", "nodes/move", "keys", "users", "groups"])
    def test_who_has_no_key_is_told_so_before_the_body_is_read(self, server, target):
        with connected(server) as connection:
            connection.sendall(head(target, 1 << 20) + b"{")  # and no more
            assert b" 401 " in connection.recv(65536)

    @pytest.mark.long
    def test_many_large_documents_wait_for_each_other(self, server, alice):
        metadata = {"a": ["x" * 1000] * 14_000}
        begun = document(f"/{alice.name}/f", "m", {})
        begun["draft"]["metadata"] = metadata
        body = json.dumps(begun).encode()
        before = memory_bytes(server)
        with ExitStack() as stack:
            for _ in range(20):
                connection = stack.enter_context(connected(server))
                connection.sendall(head("uploads", len(body), alice.key))
                threading.Thread(target=_send, args=(connection, body[:-1]), daemon=True).start()
            time.sleep(2)  # whatever the server reads, it has read by then
            assert memory_bytes(server) - before < 9 * len(body)
        answer = alice.ask("POST", "uploads", json=document(f"/{alice.name}/f", "m", {}))
        assert answer.status_code == 200


def _send(connection: socket.socket, data: bytes) -> None:
    with contextlib.suppress(OSError):  # the test is over
        connection.sendall(data)


class TestSlowBodies:
    @staticmethod
    def receive(pauses_s, size=100):
        """Receives a body in pieces of ten bytes, each after a pause."""

        async def receiving():
            left = iter(pauses_s)

            async def receive():
                await anyio.sleep(next(left))
                return {"type": "http.request", "body": b"x" * 10, "more_body": left.__length_hint__() > 0}

            timed, got = timely(receive, size), []
            for _ in pauses_s:
                message = await timed()
                got.append(message["body"])
            return b"".join(got)

        return anyio.run(receiving)

    def test_a_body_that_stalls_is_given_up(self, monkeypatch):
        monkeypatch.setattr(limits, "STALLED_S", 0.1)
        with pytest.raises(TooSlow):
            self.receive([0, 0, 30])

    def test_a_body_that_drips_is_given_up(self, monkeypatch):
        monkeypatch.setattr(limits, "STALLED_S", 0.2)
        with pytest.raises(TooSlow):
            self.receive([0.05] * 1000)

    def test_a_body_that_comes_is_taken(self):
        assert self.receive([0] * 10) == b"x" * 100


class TestHeads:
    @pytest.mark.parametrize("piece", [b"X-A: " + b"a" * 1000 + b"\r\n", b"a" * 1000], ids=["many", "one"])
    def test_a_head_without_end_is_refused_and_takes_no_memory(self, server, piece):
        with connected(server) as connection:
            connection.sendall(b"GET /health HTTP/1.1\r\nX-Long: x")
            before = memory_bytes(server)
            with pytest.raises(ConnectionError):
                connection.sendall(piece * (64 << 10))
            assert memory_bytes(server) - before < 16 << 20
        with connected(server) as connection:
            connection.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\nX-Long: " + b"x" * 30_000 + b"\r\n\r\n")
            assert b" 200 " in connection.recv(65536)

    @pytest.mark.parametrize("sent", [b"hello\r\n\r\n", b"GET / HTTP/1.1\r\nno header\r\n\r\n", b"X: " + b"x" * 70_000])
    def test_what_is_no_http_is_answered_in_the_form_of_all_errors(self, server, sent):
        with connected(server) as connection:
            connection.sendall(sent)
            head, _, body = b"".join(iter(lambda: connection.recv(65536), b"")).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 400 ")
        error = json.loads(body)["error"]
        assert error["code"] == "bad_request"
        assert error.keys() == {"code", "message", "requestId"}

    @pytest.mark.long
    @pytest.mark.parametrize("sent", [b"", b"GET /hea", b"GET / HTTP/1.1\r\nHost: x\r\n\r\nGET /hea"])
    def test_who_never_ends_a_head_loses_the_connection(self, monkeypatch, sent):
        monkeypatch.setattr(connections, "HEAD_S", 0.5)
        with serving() as port, socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
            connection.sendall(sent)
            while connection.recv(65536):
                pass

    @pytest.mark.long
    def test_a_connection_may_rest_between_requests_and_a_request_may_take_its_time(self, monkeypatch):
        monkeypatch.setattr(connections, "HEAD_S", 0.5)
        with serving(pause_s=1.0) as port, socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
            for _ in range(2):
                connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                assert b" 204 " in connection.recv(65536)
                time.sleep(1.0)


@contextmanager
def serving(pause_s: float = 0.0) -> Iterator[int]:
    """Runs an application that answers 204, in a thread; gives its port."""

    async def app(scope, receive, send):
        del scope, receive
        await anyio.sleep(pause_s)
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    listening = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, http=BoundedConnection, ws="none", lifespan="off", log_config=None)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listening],))
    thread.start()
    try:
        yield listening.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()
        listening.close()


SLOW = """
import os, pathlib, time
from t9k_em_backends.local.store import LocalStore
listed = LocalStore.list
def slow(self, prefix):
    waits = pathlib.Path(os.environ["SLOW"])
    while "/f/" in prefix and waits.exists():
        time.sleep(0.05)
    return listed(self, prefix)
LocalStore.list = slow
"""


@pytest.mark.long
def test_who_watches_the_server_is_answered_while_all_threads_wait_for_the_store(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(SLOW)
    waits = tmp_path / "waits"
    environment = {"PYTHONPATH": str(tmp_path), "SLOW": str(waits)}
    with aistore(tmp_path / "busy", environment=environment) as busy:
        alice = busy.someone()
        node = upload(alice, f"/{alice.name}/f", "m", {})
        waits.touch()
        statuses = []

        def ask() -> None:
            mine = Someone(alice.url, alice.name, alice.key)
            statuses.append(mine.ask("GET", "nodes", params={"path": node["path"]}).status_code)

        askers = [threading.Thread(target=ask) for _ in range(THREADS + 6)]
        for asker in askers:
            asker.start()
        try:
            time.sleep(2)  # for all of them to wait
            assert not statuses
            for path in ("/health", "/ready", "/metrics"):
                assert alice.session.get(f"{busy.url}{path}", timeout=10).status_code == 200
        finally:
            waits.unlink()
            for asker in askers:
                asker.join()
        assert statuses == [200] * len(askers)
