"""A connection takes the plainest of answers and nothing else, and never waits longer than it was told."""

from __future__ import annotations

import os
import select
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.backends.s3.scripted import PATIENCE_S, SHORT_S, Peer

from t9k_em_backends.s3.plain_http.connection import IS_POSSIBLE, Connection, Refused, parse_head

pytestmark = pytest.mark.skipif(not IS_POSSIBLE, reason="sockets of this system cannot do it")


@pytest.fixture
def connect(serve) -> Iterator[Callable[..., Connection]]:
    """Connects to a server of the given answer, or to one that speaks as it wants."""
    connections: list[Connection] = []

    def open_one(answer, timeout_s=PATIENCE_S):
        def talk(peer):
            while peer.request():
                peer.send(answer)

        server = serve(talk if isinstance(answer, bytes) else answer)
        connections.append(Connection.to(server.address, connect_timeout_s=PATIENCE_S, timeout_s=timeout_s))
        return connections[-1]

    yield open_one
    for connection in connections:
        connection.close()


REQUEST = b"GET / HTTP/1.1\r\n\r\n"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\nX-Name:  value \r\n\r\n"
BODY = b"0123456789"


def body_of(connection: Connection, size: int) -> bytes:
    buffer = bytearray(size)
    connection.fill(memoryview(buffer))
    return bytes(buffer)


def once(*pieces: bytes) -> Callable[[Peer], None]:
    """Answers one request in pieces, then closes the connection."""

    def talk(peer):
        peer.request()
        for piece in pieces:
            peer.send(piece)
        peer.close()

    return talk


class TestParseHead:
    def test_a_plain_answer_is_taken(self):
        answer = parse_head(b'HTTP/1.1 206 Partial Content\r\nCONTENT-length:5\r\nETag:\t"a:b" \r\nEmpty:')
        assert (answer.status, answer.length, answer.keeps) == (206, 5, True)
        assert answer.headers == {"content-length": "5", "etag": '"a:b"', "empty": ""}

    def test_a_status_needs_no_reason(self):
        assert parse_head(b"HTTP/1.1 404\r\nContent-Length: 0").status == 404

    @pytest.mark.parametrize("value", [b"close", b"Close", b" CLOSE "])
    def test_a_connection_that_ends_is_not_kept(self, value):
        assert not parse_head(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection:" + value).keeps

    def test_a_connection_said_to_be_kept_is_kept(self):
        assert parse_head(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: keep-alive").keeps

    @pytest.mark.parametrize(
        "head",
        [
            b"",
            b"\r\n",
            b"HTTP/1.0 200 OK\r\nContent-Length: 0",
            b"HTTP/2 200\r\nContent-Length: 0",
            b"HTTP/1.1\r\nContent-Length: 0",
            b"HTTP/1.1 OK\r\nContent-Length: 0",
            b"HTTP/1.1 \xb200 OK\r\nContent-Length: 0",
            b"HTTP/1.1 200 OK",
            b"HTTP/1.1 200 OK\r\nContent-Length:",
            b"HTTP/1.1 200 OK\r\nContent-Length: -1",
            b"HTTP/1.1 200 OK\r\nContent-Length: +1",
            b"HTTP/1.1 200 OK\r\nContent-Length: 1_0",
            b"HTTP/1.1 200 OK\r\nContent-Length: 5, 5",
            b"HTTP/1.1 200 OK\r\nContent-Length : 5",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked",
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\ntransfer-encoding: chunked",
            b"HTTP/1.1 100 Continue",
            b"SSH-2.0-OpenSSH_9.6",
        ],
    )
    def test_anything_else_is_refused(self, head):
        with pytest.raises(Refused):
            parse_head(head)

    def test_an_absurd_length_is_refused(self):
        with pytest.raises(Refused):
            parse_head(b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 5000)

    @given(st.binary(max_size=200) | st.binary(max_size=100).map(lambda rest: HEAD[:-4] + b"\r\n" + rest))
    def test_whatever_comes_is_taken_or_refused(self, head):
        with suppress(Refused):
            assert parse_head(head).length >= 0


class TestAsk:
    def test_an_answer_and_its_body_arrive(self, connect):
        connection = connect(HEAD + BODY)
        for _ in range(3):
            answer = connection.ask(REQUEST)
            assert (answer.status, answer.length, answer.headers["x-name"]) == (200, 10, "value")
            assert body_of(connection, 10) == BODY

    def test_an_answer_may_come_in_tiny_pieces(self, connect):
        answer = HEAD + BODY
        connection = connect(once(*(answer[at : at + 1] for at in range(len(answer)))))
        assert connection.ask(REQUEST).length == 10
        assert body_of(connection, 10) == BODY

    @pytest.mark.parametrize("cut", [1, len(HEAD) - 2, len(HEAD), len(HEAD) + 4])
    def test_an_answer_may_pause_anywhere(self, connect, cut):
        may_go_on = threading.Event()

        def talk(peer):
            peer.request()
            peer.send((HEAD + BODY)[:cut])
            may_go_on.wait(PATIENCE_S)
            peer.send((HEAD + BODY)[cut:])

        connection = connect(talk)
        threading.Timer(0.05, may_go_on.set).start()
        assert connection.ask(REQUEST).length == 10
        assert body_of(connection, 10) == BODY

    def test_a_large_body_arrives_whole(self, connect):
        data = os.urandom(3 << 20)
        connection = connect(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(data) + data)
        assert body_of(connection, connection.ask(REQUEST).length) == data

    def test_a_large_request_is_sent_whole(self, connect):
        data = os.urandom(3 << 20)
        received = []

        def talk(peer):
            received.append(peer.request())
            peer.send(HEAD + BODY)

        connect(talk).ask(b"PUT / HTTP/1.1\r\ncontent-length: %d\r\n\r\n" % len(data) + data)
        assert received[0].body == data

    def test_an_empty_body_needs_nothing_more(self, connect):
        connection = connect(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        assert connection.ask(REQUEST).length == 0
        assert body_of(connection, 0) == b""

    def test_an_endless_head_is_refused(self, connect):
        def talk(peer):
            peer.request()
            peer.send(b"HTTP/1.1 200 OK\r\nX-Name: " + b"a" * (1 << 20))

        with pytest.raises(Refused, match="endless"):
            connect(talk).ask(REQUEST)

    @pytest.mark.parametrize(
        "head",
        [
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\na\r\n0123456789\r\n0\r\n\r\n",
            b"HTTP/1.0 200 OK\r\nContent-Length: 10\r\n\r\n0123456789",
            b"HTTP/1.1 200 OK\r\n\r\n0123456789",
            b"<html>\r\n\r\n",
        ],
    )
    def test_an_answer_of_another_kind_is_refused(self, connect, head):
        with pytest.raises(Refused):
            connect(head).ask(REQUEST)

    @pytest.mark.parametrize("cut", [0, 1, len(HEAD) - 1])
    def test_a_connection_that_ends_within_the_head_is_an_error(self, connect, cut):
        with pytest.raises(ConnectionError):
            connect(once(HEAD[:cut])).ask(REQUEST)

    @pytest.mark.parametrize("there", [0, 9])
    def test_a_connection_that_ends_within_the_body_is_an_error(self, connect, there):
        connection = connect(once(HEAD, BODY[:there]))
        connection.ask(REQUEST)
        with pytest.raises(ConnectionError):
            body_of(connection, 10)

    def test_a_body_longer_than_announced_is_refused(self, connect):
        connection = connect(HEAD + BODY + b"more")
        connection.ask(REQUEST)
        with pytest.raises(Refused, match="more"):
            body_of(connection, 10)

    def test_what_follows_a_body_later_is_not_taken_for_an_answer(self, connect):
        sent = threading.Event()

        def talk(peer):
            peer.request()
            peer.send(HEAD)
            peer.send(BODY + b"more")
            sent.set()
            peer.request()
            peer.send(HEAD + BODY)

        connection = connect(talk)
        with pytest.raises(Refused):  # with this body or with the next answer
            self.ask_twice(connection, sent)

    @staticmethod
    def ask_twice(connection, sent):
        connection.ask(REQUEST)
        body_of(connection, 10)
        sent.wait(PATIENCE_S)
        connection.ask(REQUEST)


class TestTimeout:
    """The server answers in the end, so that a test in which nothing times out fails and does not hang."""

    @staticmethod
    def late(before: bytes, after: bytes):
        def talk(peer):
            peer.request()
            peer.send(before)
            peer.server.over.wait(3)
            peer.send(after)

        return talk

    @pytest.mark.parametrize("there", [b"", HEAD[:20]])
    def test_an_answer_that_does_not_come_is_an_error(self, connect, there):
        with pytest.raises(OSError):
            connect(self.late(there, HEAD[len(there) :]), timeout_s=SHORT_S).ask(REQUEST)

    @pytest.mark.parametrize("there", [b"", BODY[:5]])
    def test_a_body_that_does_not_come_is_an_error(self, connect, there):
        connection = connect(self.late(HEAD + there, BODY[len(there) :]), timeout_s=SHORT_S)
        connection.ask(REQUEST)
        with pytest.raises(OSError):
            body_of(connection, 10)

    def test_a_request_that_nobody_reads_is_an_error(self, serve):
        server = serve(lambda peer: peer.server.over.wait(3), buffer_bytes=4096)
        connection = Connection.to(server.address, connect_timeout_s=PATIENCE_S, timeout_s=SHORT_S)
        try:
            with pytest.raises(OSError):
                connection.ask(b"PUT / HTTP/1.1\r\ncontent-length: %d\r\n\r\n" % (64 << 20) + bytes(64 << 20))
        finally:
            connection.close()

    @pytest.mark.long
    def test_a_body_that_comes_slowly_is_waited_for(self, connect):
        def talk(peer):
            peer.request()
            peer.send(HEAD)
            for at in range(10):
                peer.server.over.wait(0.13)
                peer.send(BODY[at : at + 1])

        connection = connect(talk, timeout_s=1)
        connection.ask(REQUEST)
        assert body_of(connection, 10) == BODY

    @pytest.mark.parametrize("timeout_s", [SHORT_S, 1, 1.5, 60.0])
    def test_the_system_knows_the_time(self, connect, timeout_s):
        connection = connect(HEAD, timeout_s=timeout_s)
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            value = connection.socket.getsockopt(socket.SOL_SOCKET, option, 16)
            seconds, micros = memoryview(value).cast("l")
            assert seconds + micros / 1e6 == pytest.approx(timeout_s, abs=0.02)

    def test_no_time_is_so_short_that_it_means_for_ever(self, connect):
        connection = connect(HEAD, timeout_s=1e-7)
        assert any(connection.socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, 16))


class TestAnother:
    def test_it_is_there_when_it_can_be_written_to(self, connect):
        first = connect(HEAD + BODY)
        other = first.another(PATIENCE_S)
        try:
            assert select.select([], [other.socket], [], PATIENCE_S)[1]
            assert other.ask(REQUEST).length == 10
            assert body_of(other, 10) == BODY
            assert not other.is_used
        finally:
            other.close()

    def test_it_does_not_wait_for_a_service_that_does_not_answer(self):
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen(0)
            connections = [Connection.to(listener.getsockname(), connect_timeout_s=PATIENCE_S, timeout_s=PATIENCE_S)]
            try:
                connections += [connections[0].another(PATIENCE_S) for _ in range(8)]
                waiting = [connection.socket for connection in connections[1:]]
                assert len(select.select([], waiting, [], 0)[1]) < len(waiting)
            finally:
                for connection in connections:
                    connection.close()

    def test_its_own_time_holds(self, connect):
        def talk(peer):
            peer.request()
            peer.server.over.wait(3)
            peer.send(HEAD)

        other = connect(talk).another(SHORT_S)
        try:
            with pytest.raises(OSError):
                other.ask(REQUEST)
        finally:
            other.close()

    def test_nobody_there_is_an_error_now_or_with_the_first_request(self, serve):
        server = serve(lambda peer: None)
        first = Connection.to(server.address, connect_timeout_s=PATIENCE_S, timeout_s=PATIENCE_S)
        try:
            server.stop_listening()
            with pytest.raises(OSError):  # noqa: PT012 - either may raise
                other = first.another(PATIENCE_S)
                try:
                    other.ask(REQUEST)
                finally:
                    other.close()
        finally:
            first.close()


def test_nobody_there_is_an_error(serve):
    server = serve(lambda peer: None)
    server.stop_listening()
    with pytest.raises(OSError):
        Connection.to(server.address, connect_timeout_s=PATIENCE_S, timeout_s=PATIENCE_S)


def test_a_connection_that_cannot_be_set_up_is_closed(serve):
    server = serve(lambda peer: None)
    with pytest.raises(OverflowError):
        Connection.to(server.address, connect_timeout_s=PATIENCE_S, timeout_s=float("inf"))
