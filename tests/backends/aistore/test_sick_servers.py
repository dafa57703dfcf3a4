"""Whatever a sick or hostile server answers, a client ends: in time, with few bytes and requests, and with an error."""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from tests.backends.aistore.clients import Clients
from tests.backends.aistore.scripted import VERSION, Reply, Request, Scripted, an_error, as_json
from tests.backends.s3.scripted import Peer, Server
from tests.services.aistore import Someone

from t9k.em import wire
from t9k.em.backend import Backend
from t9k.em.errors import BackendError, BackendUnavailable
from t9k.em.records import RUN, FileEntry, Node
from t9k.em.testing import make_request, upload
from t9k_em_backends.aistore import AIStoreBackend, bodies, connection, reading, server
from t9k_em_backends.aistore import upload as uploading
from t9k_em_backends.aistore.retries import Retries

KEY = "6fa459ea-ee8a-3ca4-894e-db77e160355e"
ONCE = Retries(sleep=lambda _: None, most=1)
NODE = Node(path="/alice/x", kind=RUN, id="i", generation=1)
FILE = FileEntry(key="k", op="20261125T101500.000000Z-4e48t2abcd", size=100_000, sha256="0" * 64, etag="")
NOT_ENDLESS = 400
"""How many pieces a server sends that would go on for ever."""
ENDLESS = "is that the server you mean"


def head(extra: str = "", status: str = "200 OK", kind: str = "application/json") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nX-Request-Id: 1\r\n{extra}\r\n".encode()


def whole(document: Any) -> bytes:
    body = json.dumps(document).encode()
    return head(f"Content-Length: {len(body)}\r\n") + body


def drip(peer: Peer, data: bytes) -> None:
    """Send bytes one by one, each in time; whoever is still there gets the rest at once in the end."""
    for byte in data[:NOT_ENDLESS]:
        peer.socket.sendall(bytes([byte]))
        if peer.server.over.wait(0.05):
            return
    peer.send(data[NOT_ENDLESS:])


def answers(talk: Callable[[Peer], None]) -> Callable[[Peer], None]:
    """Say what every AIStore says of itself, and to everything else what a test says."""

    def serve(peer: Peer) -> None:
        while (request := peer.request()) is not None:
            if request.path.endswith("/version"):
                peer.send(whole(VERSION))
            else:
                with suppress(OSError):
                    talk(peer)
                peer.close()
                return

    return serve


@contextmanager
def talking(client: Clients, talk: Callable[[Peer], None], timeout: float = 5.0) -> Iterator[AIStoreBackend]:
    with Server(answers(talk)) as there:
        url = f"http://127.0.0.1:{there.address[1]}?timeout={timeout}"
        backend = client(Someone(url, "alice", KEY), retries=ONCE, url=url)
        yield backend
        backend.close()


@pytest.fixture
def server_of() -> Iterator[Scripted]:
    with Scripted() as scripted:
        yield scripted


@pytest.fixture
def backend(server_of: Scripted, client: Clients) -> AIStoreBackend:
    return client(Someone(server_of.url, "alice", KEY))


@pytest.mark.long
class TestTime:
    def test_a_head_that_trickles_is_given_up(self, client: Clients) -> None:
        found = whole(wire.node_json(NODE))
        with talking(client, lambda peer: drip(peer, found), 0.2) as backend, pytest.raises(BackendUnavailable):
            backend.stat("/alice/x")

    def test_a_document_that_trickles_is_given_up(self, client: Clients) -> None:
        body = json.dumps(wire.node_json(NODE)).encode()

        def talk(peer: Peer) -> None:
            peer.send(head(f"Content-Length: {len(body)}\r\n"))
            drip(peer, body)

        with talking(client, talk, 0.2) as backend, pytest.raises(BackendUnavailable, match="8 KiB a second|in time"):
            backend.stat("/alice/x")

    def test_a_refusal_that_trickles_is_given_up(self, client: Clients) -> None:
        body = json.dumps(wire.error_json("not_found", "x" * 200, "1")).encode()

        def talk(peer: Peer) -> None:
            peer.send(head(f"Content-Length: {len(body)}\r\n", "404 Not Found"))
            drip(peer, body)

        with talking(client, talk, 0.2) as backend, pytest.raises(BackendUnavailable):
            backend.stat("/alice/x")

    def test_a_file_that_trickles_is_given_up(self, client: Clients) -> None:
        def talk(peer: Peer) -> None:
            peer.send(
                head(f'Content-Length: {FILE.size}\r\nETag: "{FILE.sha256}"\r\n', kind="application/octet-stream")
            )
            drip(peer, b"a" * NOT_ENDLESS)
            peer.send(b"a" * (FILE.size - NOT_ENDLESS))

        with talking(client, talk, 0.2) as backend, pytest.raises(BackendUnavailable):
            list(backend.read(NODE, FILE))

    def test_who_reads_a_file_slowly_gets_all_of_it(self, client: Clients) -> None:
        def talk(peer: Peer) -> None:
            peer.send(head(f'Content-Length: {3 << 20}\r\nETag: "{FILE.sha256}"\r\n', kind="application/octet-stream"))
            peer.send(b"a" * (3 << 20))

        file = FileEntry(key="k", op=FILE.op, size=3 << 20, sha256=FILE.sha256, etag="")
        with talking(client, talk, 0.2) as backend:
            size = 0
            for chunk in backend.read(NODE, file):
                time.sleep(0.5)
                size += len(chunk)
        assert size == 3 << 20


class TestBytes:
    def test_a_document_without_end_is_not_read_on(self, client: Clients, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(bodies, "MOST_BYTES", 1 << 20)
        sent: list[int] = []

        def talk(peer: Peer) -> None:
            peer.send(head("Connection: close\r\n") + b"[")
            for _ in range(NOT_ENDLESS):
                peer.socket.sendall(b"0," * (128 << 10))
                sent.append(1)

        with talking(client, talk) as backend, pytest.raises(BackendError, match="more than 1 MiB"):
            backend.stat("/alice/x")
        assert len(sent) < NOT_ENDLESS

    def test_one_that_announces_too_much_is_not_begun(self, client: Clients) -> None:
        def talk(peer: Peer) -> None:
            peer.send(head(f"Content-Length: {10**15}\r\n") + b"[")

        with talking(client, talk) as backend, pytest.raises(BackendError, match="more than 64 MiB"):
            backend.stat("/alice/x")

    @pytest.mark.parametrize("values", ["[],", "{},", "0,", '"",'])
    def test_one_of_too_many_values_is_not_parsed(self, client: Clients, values: str) -> None:
        body = f"[{values * 2_000_001}0]".encode()

        def talk(peer: Peer) -> None:
            peer.send(head(f"Content-Length: {len(body)}\r\n") + body)

        with talking(client, talk) as backend, pytest.raises(BackendError, match="more than 2,000,000 values"):
            backend.stat("/alice/x")

    @pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "gzip, identity", "GZIP"])
    def test_what_is_compressed_unasked_is_refused(self, server_of: Scripted, backend: Backend, encoding: str) -> None:
        bomb = gzip.compress(json.dumps(wire.node_json(NODE)).encode() + b" " * (8 << 20))
        kind = {"Content-Type": "application/json", "X-Request-Id": "1", "ETag": f'"{FILE.sha256}"'}
        server_of.answers = lambda _: Reply(body=bomb, headers={**kind, "Content-Encoding": encoding})
        with pytest.raises(BackendError, match="compresses what it was asked to send as it is"):
            backend.stat("/alice/x")
        with pytest.raises(BackendError, match="compresses"):
            list(backend.read(NODE, FILE))

    def test_a_compressed_refusal_is_not_unpacked(self, server_of: Scripted, backend: Backend) -> None:
        told = gzip.compress(json.dumps(wire.error_json("not_found", "hidden", "1")).encode())
        server_of.answers = lambda _: Reply(status=404, body=told, headers={"Content-Encoding": "gzip"})
        with pytest.raises(BackendError, match="is there an AIStore at this address") as caught:
            backend.stat("/alice/x")
        assert "hidden" not in str(caught.value)

    @pytest.mark.parametrize(
        ("before", "again", "says"),
        [
            (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 100, ENDLESS),
            (b"", b"HTTP/1.1 100 Continue\r\nX: " + b"x" * 1000 + b"\r\n\r\n", ENDLESS),
            (head("Transfer-Encoding: chunked\r\n") + b"2\r\n{}\r\n0\r\n", b"X: trailer\r\n" * 100, ENDLESS),
            (head("Transfer-Encoding: chunked\r\n"), b"1", "broke the connection off"),
            (head("Transfer-Encoding: chunked\r\n") + b"1;", b"x" * 1000, "broke the connection off"),
            (head("Transfer-Encoding: chunked\r\n"), b"1\r\n \r\n" * 100, ENDLESS),
        ],
        ids=["continue", "continue-with-heads", "trailers", "size", "extension", "chunks"],
    )
    def test_what_is_around_a_document_has_an_end_too(
        self, client: Clients, monkeypatch: pytest.MonkeyPatch, before: bytes, again: bytes, says: str
    ) -> None:
        monkeypatch.setattr(connection, "MOST_BYTES", 64 << 10)
        monkeypatch.setattr(connection, "OVERHEAD_BYTES", 64 << 10)
        monkeypatch.setattr(bodies, "MOST_BYTES", 16 << 10)

        def talk(peer: Peer) -> None:
            peer.send(before)
            piece = again * (1 + (64 << 10) // len(again))
            for _ in range(NOT_ENDLESS):
                peer.socket.sendall(piece)

        with talking(client, talk) as backend, pytest.raises(BackendError, match=says):
            backend.stat("/alice/x")

    def test_a_growing_file_has_an_end(
        self, client: Clients, server_of: Scripted, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("t9k_em_backends.aistore.backend.MOST_GROWN_BYTES", 1 << 20)
        monkeypatch.setitem(VERSION, "abilities", ["grows"])
        sent: list[int] = []

        def talk(peer: Peer) -> None:
            peer.send(head("Connection: close\r\n", kind="application/octet-stream"))
            for _ in range(NOT_ENDLESS):
                peer.socket.sendall(b"line\n" * (50 << 10))
                sent.append(1)

        with talking(client, talk) as backend, pytest.raises(BackendError, match="without end"):
            for _ in backend.read_grown(NODE, "k"):
                pass
        assert len(sent) < NOT_ENDLESS


@pytest.mark.long
class TestRequests:
    def test_a_stream_that_breaks_after_every_byte_is_given_up(self, client: Clients, server_of: Scripted) -> None:
        backend = client(Someone(server_of.url, "alice", KEY))
        headers = {"ETag": f'"{FILE.sha256}"', "X-Request-Id": "1"}

        def answer(request: Request) -> Reply:
            if len(server_of.requests) > NOT_ENDLESS:
                return an_error("not_found")
            status = 206 if "range" in request.headers else 200
            return Reply(status=status, body=b"a", announced=1000, headers=headers)

        server_of.answers = answer
        with pytest.raises(BackendUnavailable):
            list(backend.read(NODE, FILE))
        assert len(server_of.asked("/nodes/content")) <= reading.MOST_BREAKS + 1

    @pytest.mark.parametrize("cursors", [("a",), ("a", "b"), ("a", "b", "c")])
    def test_a_listing_in_a_circle_ends(self, server_of: Scripted, backend: Backend, cursors: Sequence[str]) -> None:
        item = wire.node_json(NODE)

        def answer(request: Request) -> Reply:
            number = len(server_of.asked(request.what))
            following = None if number > NOT_ENDLESS else cursors[number % len(cursors)]
            return as_json({"items": [item], "next": following, "whole": True})

        server_of.answers = answer
        for ask in (backend.list, backend.versions):
            with pytest.raises(BackendError, match="the same page of a listing again and again"):
                ask("/alice")

    def test_a_listing_of_empty_pages_ends(
        self, server_of: Scripted, backend: Backend, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(server, "MOST_EMPTY_PAGES", 20)

        def answer(request: Request) -> Reply:
            number = len(server_of.asked(request.what))
            return as_json({"items": [], "next": None if number > NOT_ENDLESS else str(number), "whole": True})

        server_of.answers = answer
        with pytest.raises(BackendError, match="a listing without end"):
            backend.list("/alice")

    def test_a_listing_of_ever_more_ends(
        self, server_of: Scripted, backend: Backend, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(server, "MOST_ITEMS", 50)

        def answer(request: Request) -> Reply:
            number = len(server_of.asked(request.what))
            item = {"key": f"k{number}", "op": FILE.op, "size": 0, "sha256": "0" * 64, "etag": ""}
            return as_json({"items": [item], "next": None if number > NOT_ENDLESS else str(number)})

        server_of.answers = answer
        with pytest.raises(BackendError, match="a listing without end"):
            backend.files(NODE)
        assert len(server_of.asked("/nodes/files")) == 50

    def test_of_pages_that_are_too_long_shorter_ones_are_asked_for(
        self, server_of: Scripted, backend: Backend, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(bodies, "MOST_BYTES", 3000)
        server_of.version = as_json({**VERSION, "limits": {**VERSION["limits"], "page": 100}})  # type: ignore[dict-item]
        nodes = [wire.node_json(Node(path=f"/alice/n{n:03}", kind=RUN, id="i", generation=1)) for n in range(40)]

        def answer(request: Request) -> Reply:
            after, limit = request.query.get("after", ""), int(request.query["limit"])
            left = [node for node in nodes if node["name"] > after]
            following = left[limit - 1]["name"] if len(left) > limit else None
            return as_json({"items": left[:limit], "next": following, "whole": True})

        server_of.answers = answer
        assert len(backend.list("/alice")) == 40
        monkeypatch.setattr(bodies, "MOST_BYTES", 100)
        with pytest.raises(BackendError, match="more than 0 MiB"):
            backend.list("/alice")


@pytest.mark.long
class TestUploads:
    def test_commits_that_say_nothing_is_missing_end(self, server_of: Scripted, backend: Backend) -> None:
        state: dict[str, Any] = {"op": "", "outcome": None, "node": None, "missing": [], "round": 0}

        def answer(_: Request) -> Reply:
            assert len(server_of.requests) < NOT_ENDLESS
            return as_json(state)

        server_of.answers = answer
        with pytest.raises(BackendError, match="asked 100 times for more, and does not publish 'n'"):
            upload(backend, make_request("/alice", "n", {}), {})

    def test_commits_that_miss_the_same_file_for_ever_end(
        self, server_of: Scripted, backend: Backend, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(uploading, "MOST_ROUNDS", 5)
        state: dict[str, Any] = {"op": "", "outcome": None, "node": None, "missing": ["k"], "round": 0}

        def answer(request: Request) -> Reply:
            assert len(server_of.requests) < NOT_ENDLESS
            return Reply(status=204) if request.method == "PUT" else as_json(state)

        server_of.answers = answer
        with pytest.raises(BackendError, match="asked 5 times for more"):
            upload(backend, make_request("/alice", "n", {"k": b"v"}), {"k": b"v"})
        assert len([request for request in server_of.requests if request.method == "PUT"]) == 5


class TestWhatAServerSaysOfItself:
    def about(self, server_of: Scripted, **limits: int) -> None:
        server_of.version = as_json({**VERSION, "limits": {**VERSION["limits"], **limits}})  # type: ignore[dict-item]

    def test_it_has_no_more_threads_than_connections(self, server_of: Scripted, backend: AIStoreBackend) -> None:
        self.about(server_of, parallel=100_000)
        backend.open()
        assert backend.parallelism == connection.CONNECTIONS == 64

    def test_no_piece_is_larger_than_memory_can_be(self, server_of: Scripted, backend: AIStoreBackend) -> None:
        self.about(server_of, bodyBytes=10**15, page=10**15, filesPage=10**15, documentBytes=10**15)
        about = backend._server.ready()
        assert (about.body_bytes, about.page, about.files_page) == (64 << 20, 10_000, 10_000)
        assert about.document_bytes == 1 << 30

    @pytest.mark.parametrize("limits", [{"bodyBytes": 1}, {"bodyBytes": 0}, {"page": 0}, {"parallel": -1}])
    def test_less_than_can_be_used_is_refused(
        self, server_of: Scripted, backend: AIStoreBackend, limits: dict[str, int]
    ) -> None:
        self.about(server_of, **limits)
        with pytest.raises(BackendError, match=f"{next(iter(limits))} .* is no limit"):
            backend.open()
