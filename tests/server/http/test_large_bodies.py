"""Large bodies arrive whole, whatever the network cuts them into, and what follows on the connection is another request."""

from __future__ import annotations

import gc
import hashlib
import itertools
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import anyio
import pytest
import uvicorn

from t9k.em.memory import buffers
from t9k.em.memory.buffers import BUFFER_BYTES, starts_page
from t9k.em.records import CHUNK_BYTES
from t9k.em.server.http import large_bodies
from t9k.em.server.http.connections import BoundedConnection
from t9k.em.server.http.large_bodies import LARGE_BYTES, LargeBody

GET_BUFFER = LargeBody.get_buffer
OK = b"HTTP/1.1 200 "
SIZES = [
    LARGE_BYTES - 1,
    LARGE_BYTES,
    CHUNK_BYTES,
    CHUNK_BYTES + 1,
    BUFFER_BYTES - 1,
    BUFFER_BYTES,
    BUFFER_BYTES + 1,
    2 * BUFFER_BYTES + 12345,
]


class App:
    """Answers with the checksum of the body, and keeps what it received."""

    def __init__(self) -> None:
        self.pieces: list[int] = []
        self.aligned: list[bool] = []
        self.kinds: list[str] = []
        self.asks = threading.Event()
        self.asks.set()
        self.reads = True

    def keep(self, piece) -> None:
        """Lets a test have what came."""

    async def __call__(self, scope, receive, send) -> None:
        del scope
        await anyio.to_thread.run_sync(self.asks.wait)
        digest, more = hashlib.sha256(), self.reads
        while more:
            message = await receive()
            self.kinds.append(message["type"])
            if message["type"] != "http.request":
                return
            digest.update(message["body"])
            self.pieces.append(len(message["body"]))
            self.keep(message["body"])
            self.aligned.append(starts_page(memoryview(message["body"])))
            more = message["more_body"]
        answer = digest.hexdigest().encode()
        length = [(b"content-length", str(len(answer)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": length})
        await send({"type": "http.response.body", "body": answer})


@pytest.fixture
def app() -> App:
    return App()


@pytest.fixture
def connection(app: App) -> Iterator[socket.socket]:
    with serving(app) as port, socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        yield connection


@contextmanager
def serving(app: App) -> Iterator[int]:
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(
        uvicorn.Config(app, http=BoundedConnection, ws="none", lifespan="off", log_config=None, access_log=False)
    )
    thread = threading.Thread(target=server.run, args=([listening],))
    thread.start()
    try:
        yield listening.getsockname()[1]
    finally:
        app.asks.set()
        server.should_exit = True
        thread.join()
        listening.close()


def head(size: int, *lines: str) -> bytes:
    return "\r\n".join(["PUT /x HTTP/1.1", "Host: x", f"Content-Length: {size}", *lines, "", ""]).encode()


def answers(connection: socket.socket, count: int = 1) -> bytes:
    """So many answers, each of a head and a checksum."""
    got = b""
    while got.count(OK) < count or len(got.rpartition(b"\r\n\r\n")[2]) < 64:
        more = connection.recv(65536)
        assert more, got
        got += more
    return got


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).hexdigest().encode()


@pytest.mark.long
@pytest.mark.parametrize("size", SIZES)
def test_a_body_arrives_whole_and_the_connection_goes_on(connection, app, size):
    for _ in range(3):
        body = os.urandom(size)
        connection.sendall(head(size) + body)
        assert answers(connection).endswith(sha256(body))
    assert sum(app.pieces) == 3 * size


@pytest.mark.parametrize("pause", [1, 70_001], ids=["after one byte", "in the middle"])
def test_however_it_is_cut(connection, app, pause):
    body = os.urandom(2 * CHUNK_BYTES + 7)
    data = head(len(body)) + body
    cuts = [0, 10, len(head(len(body))), len(head(len(body))) + pause, len(data) - 1, len(data)]
    for start, end in itertools.pairwise(cuts):
        connection.sendall(data[start:end])
        time.sleep(0.05)
    assert answers(connection).endswith(sha256(body))


def test_its_chunks_are_cut_where_files_are_written(connection, app):
    body = os.urandom(4 * BUFFER_BYTES)
    connection.sendall(head(len(body)) + body)
    answers(connection)
    ends = [sum(app.pieces[: number + 1]) for number in range(len(app.pieces))]
    assert {BUFFER_BYTES * number for number in range(1, 5)} <= set(ends)
    assert len(ends) <= 6
    assert app.aligned == [True] * 4, "each can be written past the system's cache"


def test_requests_that_follow_at_once_are_not_taken_for_the_body(connection):
    bodies = [os.urandom(size) for size in (LARGE_BYTES, 10, 2 * CHUNK_BYTES, 0, LARGE_BYTES)]
    sender = threading.Thread(target=connection.sendall, args=(b"".join(head(len(body)) + body for body in bodies),))
    sender.start()
    got = answers(connection, len(bodies))
    sender.join()
    assert [answer[-64:] for answer in got.split(OK)[1:]] == [sha256(body) for body in bodies]


def test_who_waits_to_be_asked_is_asked(connection):
    body = os.urandom(CHUNK_BYTES)
    connection.sendall(head(len(body), "Expect: 100-continue"))
    assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
    connection.sendall(body)
    assert answers(connection).endswith(sha256(body))


def test_what_is_answered_before_it_was_read_takes_no_memory(connection, app, monkeypatch):
    made = []
    monkeypatch.setattr(LargeBody, "get_buffer", lambda self, _: made.append(GET_BUFFER(self, -1)) or made[-1])
    app.reads = False
    connection.sendall(head(3 * CHUNK_BYTES))
    answers(connection)
    connection.sendall(bytes(3 * CHUNK_BYTES))
    connection.sendall(head(5) + b"small")
    answers(connection)
    assert made
    assert {id(buffer.obj) for buffer in made} == {id(large_bodies._UNWANTED)}


def test_what_is_answered_before_it_was_read_is_read_to_its_end(connection, app):
    app.reads = False
    connection.sendall(head(3 * CHUNK_BYTES))
    assert answers(connection).endswith(sha256(b""))
    connection.sendall(bytes(3 * CHUNK_BYTES))
    app.reads = True
    connection.sendall(head(5) + b"small")
    assert answers(connection).endswith(sha256(b"small"))


def test_who_leaves_in_the_middle_is_known_to_have_left(connection, app):
    connection.sendall(head(3 * CHUNK_BYTES) + bytes(CHUNK_BYTES + 5))
    connection.close()
    deadline = time.monotonic() + 30
    while "http.disconnect" not in app.kinds:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert sum(app.pieces) < 3 * CHUNK_BYTES


def test_who_closes_after_the_next_request_gets_its_answer_whatever_follows(connection):
    body = bytes(LARGE_BYTES)
    connection.sendall(head(len(body)) + body + head(5, "Connection: close") + b"small" + b"and more")
    assert answers(connection, 2).endswith(sha256(b"small"))


@pytest.mark.long
def test_of_who_sends_slowly_the_app_sees_what_there_is(monkeypatch, connection, app):
    monkeypatch.setattr(large_bodies, "PARTIAL_S", 0.1)
    connection.sendall(head(CHUNK_BYTES))
    for _ in range(2):
        connection.sendall(bytes(1000))
        time.sleep(0.5)
    assert app.pieces == [1000, 1000]
    connection.sendall(bytes(CHUNK_BYTES - 2000))
    assert answers(connection).endswith(sha256(bytes(CHUNK_BYTES)))


def test_who_sends_slowly_takes_no_more_memory_than_it_sends(monkeypatch, connection, app):
    monkeypatch.setattr(large_bodies, "PARTIAL_S", 0.05)
    kept: list[bytes] = []
    taken: list[int] = []
    take = buffers.take
    monkeypatch.setattr(buffers, "take", lambda: taken.append(1) or take())
    monkeypatch.setattr(app, "keep", kept.append)
    body = os.urandom(2 * BUFFER_BYTES)
    connection.sendall(head(len(body)))
    for number in range(6):
        connection.sendall(body[number * 1000 : (number + 1) * 1000])
        deadline = time.monotonic() + 30
        while len(kept) <= number:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    assert len(taken) == 1
    connection.sendall(body[6000:])
    assert answers(connection).endswith(sha256(body))
    assert len(taken) == 2
    assert b"".join(kept) == body


def test_memory_serves_the_next_body_at_once(monkeypatch, connection):
    """And not only after the garbage collector has looked."""
    made, anonymous = [], buffers.anonymous
    monkeypatch.setattr(buffers, "_idle", [])
    monkeypatch.setattr(buffers, "anonymous", lambda size: made.append(size) or anonymous(size))
    body = os.urandom(BUFFER_BYTES)
    gc.disable()
    try:
        for _ in range(10):
            connection.sendall(head(len(body)) + body)
            assert answers(connection).endswith(sha256(body))
    finally:
        gc.enable()
    assert 1 <= len(made) <= 3


@pytest.mark.long
def test_nothing_is_read_before_the_app_asks(connection, app):
    app.asks.clear()
    size = 64 * CHUNK_BYTES
    connection.sendall(head(size))
    connection.settimeout(1)
    with pytest.raises(TimeoutError):
        connection.sendall(bytes(size))
    assert app.pieces == []
