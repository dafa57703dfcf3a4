"""Many small objects are written by one thread, each right and at most once, and what did not work is left to others."""

from __future__ import annotations

import base64
import hashlib
import io
import selectors
import socket
import threading
from collections import Counter
from contextlib import suppress
from itertools import chain

import pytest
from attrs import evolve
from tests.backends.s3.scripted import PATIENCE_S, SHORT_S

from t9k.em.errors import BackendPermissionError, SourceChanged
from t9k.em.records import Body
from t9k_em_backends.s3.plain_http import pool as module
from t9k_em_backends.s3.plain_http.connection import IS_POSSIBLE, Connection
from t9k_em_backends.s3.plain_http.writes import Copy, Small

pytestmark = pytest.mark.skipif(not IS_POSSIBLE, reason="sockets of this system cannot do it")

SLOW_DOWN = b"HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\n\r\n"


def etag_of(data):
    return hashlib.md5(data).hexdigest()


def ok(request, extra=""):
    return f'HTTP/1.1 200 OK\r\nETag: "{etag_of(request.body)}"\r\n{extra}Content-Length: 0\r\n\r\n'.encode()


class Bucket:
    """What a server received, and what it answered with success."""

    def __init__(self):
        self.received = []
        self.written: Counter[str] = Counter()
        self._lock = threading.Lock()

    def __call__(self, peer):
        """Answers all requests as they should be."""
        while self.one(peer):
            pass

    def take(self, peer):
        request = peer.request()
        if request is not None:
            with self._lock:
                self.received.append(request)
        return request

    def one(self, peer, extra=""):
        request = self.take(peer)
        if request is not None:
            self.answer(peer, request, extra)
        return request

    def answer(self, peer, request, extra=""):
        with self._lock:
            self.written[request.path] += 1
        peer.send(ok(request, extra))


@pytest.fixture
def bucket():
    return Bucket()


@pytest.fixture
def small_buffers(monkeypatch):
    """Lets the system take little of a request at once."""
    init = Connection.__init__

    def with_a_small_one(self, connected, peer, timeout_s):
        init(self, connected, peer, timeout_s)
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)

    monkeypatch.setattr(Connection, "__init__", with_a_small_one)


@pytest.fixture
def selects(monkeypatch):
    """Counts how often something was waited for, and in vain; ends what waits for ever without waiting."""
    counts: Counter[str] = Counter()

    class Counting(selectors.DefaultSelector):
        def select(self, timeout=None):
            ready = super().select(timeout)
            counts["all"] += 1
            counts["in vain"] += not ready
            assert counts["all"] < 2000, "it waits for ever, and without a pause"
            return ready

    monkeypatch.setattr(selectors, "DefaultSelector", Counting)
    return counts


def some(count, size=100):
    return [Small(f"a b/{at}", Body.of(f"{at}:".encode().ljust(size, b"."))) for at in range(count)]


def unreadable(path="a b/gone", error=FileNotFoundError):
    def opened():
        raise error(path)

    return Small(path, evolve(Body.of(b"what was there"), open=opened))


def changed(path="a b/changed"):
    return Small(path, evolve(Body.of(b"before"), open=lambda: io.BytesIO(b"after!")))


def put(sockets, objects, width=4):
    took: list[float] = []
    etags = sockets.put_many(objects, width, took.append)
    assert len(took) == sum(etag is not None for etag in etags)
    assert all(seconds >= 0 for seconds in took)
    return etags


def path_of(small):
    return f"/bucket/{small.path}".replace(" ", "%20")


def check(bucket, objects, etags):
    """What is said to be written is, and what came is what was to be written."""
    by_path = {path_of(small): small.body.read() for small in objects}
    for request in bucket.received:
        data = by_path[request.path]
        assert request.method == "PUT"
        assert request.body == data
        assert request.headers["content-length"] == str(len(data))
        checksum = base64.b64encode(hashlib.sha256(data).digest()).decode()
        assert request.headers["x-amz-checksum-sha256"] == checksum
        assert {"content-length", "host", "x-amz-checksum-sha256"} <= set(
            request.headers["authorization"].partition("SignedHeaders=")[2].partition(",")[0].split(";")
        )
    assert len(etags) == len(objects)
    for small, etag in zip(objects, etags, strict=True):
        assert bucket.written[path_of(small)] == (0 if etag is None else 1)
        assert etag in (None, etag_of(small.body.read()))


def check_all(bucket, objects, etags):
    check(bucket, objects, etags)
    assert etags == [etag_of(small.body.read()) for small in objects]


class TestAllIsWell:
    @pytest.mark.parametrize(("count", "width"), [(1, 1), (1, 8), (2, 1), (9, 1), (3, 8), (8, 8), (100, 8), (30, 64)])
    def test_all_are_written_once_and_no_more_at_a_time_than_wanted(self, reach, bucket, count, width):
        server, sockets = reach(bucket)
        objects = some(count)
        check_all(bucket, objects, put(sockets, objects, width))
        assert len(bucket.received) == count
        assert len(server.peers) == len(sockets.pool._idle) == min(count, width)

    @pytest.mark.parametrize("size", [0, 1, 1 << 16])
    def test_objects_of_any_size_are_written(self, reach, bucket, size):
        _, sockets = reach(bucket)
        objects = [Small(f"a b/{at}", Body.of(bytes([at]) * size)) for at in range(12)]
        check_all(bucket, objects, put(sockets, objects))
        assert len(bucket.received) == 12

    def test_nothing_to_write_is_no_error(self, reach, bucket):
        _, sockets = reach(bucket)
        assert put(sockets, []) == []

    def test_connections_are_used_again(self, reach, bucket):
        server, sockets = reach(bucket)
        for number in range(3):
            objects = [Small(f"{number}/{at}", Body.of(b"data")) for at in range(20)]
            assert None not in put(sockets, objects)
        assert len(bucket.received) == 60
        assert len(server.peers) == len(sockets.pool._idle) == 4

    def test_a_read_may_use_the_connection_of_a_write_and_the_other_way_round(self, reach, bucket):
        def talk(peer):
            while request := peer.request():
                if request.method == "PUT":
                    peer.send(ok(request))
                else:
                    peer.send(b"HTTP/1.1 206 \r\nContent-Length: 4\r\nContent-Range: bytes 0-3/4\r\n\r\ndata")

        server, sockets = reach(talk)
        buffer = bytearray(4)
        for _ in range(2):
            assert None not in put(sockets, some(2), 1)
            assert sockets.read_into("key", 0, memoryview(buffer)) == 4
            assert buffer == b"data"
        assert len(server.peers) == 1

    def test_answers_may_come_in_tiny_pieces(self, reach, bucket):
        def talk(peer):
            while request := bucket.take(peer):
                bucket.written[request.path] += 1
                for at in ok(request):
                    peer.send(bytes([at]))

        _, sockets = reach(talk)
        objects = some(4)
        check_all(bucket, objects, put(sockets, objects, 2))

    def test_answers_may_come_in_another_order(self, reach, bucket):
        answered = [threading.Event() for _ in range(4)]

        def talk(peer):
            while request := bucket.take(peer):
                number = int(request.path.rpartition("/")[2])
                if number < 3:
                    answered[number + 1].wait(PATIENCE_S)
                bucket.answer(peer, request)
                answered[number].set()

        _, sockets = reach(talk)
        objects = some(4)
        check_all(bucket, objects, put(sockets, objects, 4))

    def test_requests_larger_than_what_the_system_takes_at_once_arrive_whole(self, reach, bucket, small_buffers):
        def talk(peer):
            while bucket.one(peer):
                pass

        _, sockets = reach(talk, buffer_bytes=4096)
        objects = some(8, 1 << 16)
        check_all(bucket, objects, put(sockets, objects))
        assert len(bucket.received) == 8

    def test_several_calls_at_the_same_time_share_the_connections(self, reach, bucket):
        server, sockets = reach(bucket)
        groups = [[Small(f"a b/{number}/{at}", Body.of(f"{number} {at}".encode())) for at in range(30)] for number in range(4)]  # fmt: skip
        results = {}
        threads = [
            threading.Thread(target=lambda number=number: results.update({number: put(sockets, groups[number])}))
            for number in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        check_all(bucket, list(chain(*groups)), list(chain(*(results[number] for number in range(4)))))
        assert len(bucket.received) == 120
        assert len(server.peers) <= 2 * 4


class TestRefusals:
    @pytest.mark.parametrize(
        "reply",
        [
            SLOW_DOWN,
            b"HTTP/1.1 403 Forbidden\r\nContent-Length: 9\r\n\r\n<Error />",
            b'HTTP/1.1 204 No Content\r\nETag: "x"\r\nContent-Length: 0\r\n\r\n',
            b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
            b'HTTP/1.1 200 OK\r\nETag: "x"\r\n\r\n',
            b'HTTP/1.1 200 OK\r\nETag: "x"\r\nContent-Length: 9\r\n\r\n<Error />',
            b'HTTP/1.1 200 OK\r\nETag: "x"\r\nContent-Length: 0\r\n\r\nmore',
            b'HTTP/1.1 200 OK\r\nETag: "x"\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
            b'HTTP/1.0 200 OK\r\nETag: "x"\r\nContent-Length: 0\r\n\r\n',
            b"HTTP/1.1 100 Continue\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nETag: " + b"x" * (1 << 17),
            b'HTTP/1.1 200 OK\r\nETag: "x"\r\nContent-Length: 20000\r\n\r\n',
        ],
    )
    def test_after_an_answer_that_is_not_as_hoped_no_more_are_started(self, reach, bucket, reply):
        """The others are answered once the client has closed that connection, so it knows when it gets the answers."""
        refused = threading.Event()

        def talk(peer):
            while request := bucket.take(peer):
                if request.path.endswith("/1"):
                    peer.send(reply)
                    peer.ended()
                    refused.set()
                else:
                    assert refused.wait(PATIENCE_S)
                    bucket.answer(peer, request)

        _, sockets = reach(talk)
        objects = some(20)
        etags = put(sockets, objects, 4)
        check(bucket, objects, etags)
        assert [at for at, etag in enumerate(etags) if etag] == [0, 2, 3]
        assert len(bucket.received) == 4
        assert len(sockets.pool._idle) == 3
        left = [small for small, etag in zip(objects, etags, strict=True) if etag is None and small.path != "a b/1"]
        assert None not in put(sockets, left)

    def test_a_refusal_of_the_last_one_leaves_all_others_written(self, reach, bucket):
        def talk(peer):
            while request := bucket.take(peer):
                if request.path.endswith("/9"):
                    peer.send(SLOW_DOWN)
                else:
                    bucket.answer(peer, request)

        _, sockets = reach(talk)
        objects = some(10)
        etags = put(sockets, objects, 1)
        check(bucket, objects, etags)
        assert etags.index(None) == 9
        assert not sockets.pool._idle

    @pytest.mark.parametrize("there", [b"", b"HTTP/1.1 200 OK\r\nETa"])
    def test_answers_that_do_not_come_leave_nothing_known(self, reach, bucket, there):
        def talk(peer):
            bucket.take(peer)
            peer.send(there)

        server, sockets = reach(talk, timeout_s=SHORT_S)
        objects = some(20)
        etags = put(sockets, objects, 4)
        check(bucket, objects, etags)
        assert etags == [None] * 20
        assert len(bucket.received) == len(server.peers) == 4
        assert not sockets.pool._idle

    def test_one_answer_that_does_not_come_leaves_the_others_written(self, reach, bucket):
        def talk(peer):
            while request := bucket.take(peer):
                if not request.path.endswith("/2"):
                    bucket.answer(peer, request)

        _, sockets = reach(talk, timeout_s=0.5)
        objects = some(20)
        etags = put(sockets, objects, 4)
        check(bucket, objects, etags)
        assert etags.count(None) == 1
        assert etags[2] is None
        assert len(sockets.pool._idle) == 3

    @pytest.mark.parametrize("sends", [b"", b"HTTP/1.1 200 OK\r\n"])
    def test_a_new_connection_that_ends_is_not_tried_again(self, reach, bucket, sends):
        def talk(peer):
            bucket.take(peer)
            peer.send(sends)
            peer.close()

        server, sockets = reach(talk)
        objects = some(20)
        etags = put(sockets, objects, 4)
        check(bucket, objects, etags)
        assert etags == [None] * 20
        assert len(server.peers) <= 4

    def test_no_service_at_all_leaves_nothing_known(self, reach, bucket):
        server, sockets = reach(bucket)
        server.stop_listening()
        assert put(sockets, some(20)) == [None] * 20

    def test_a_service_that_went_away_between_two_calls_leaves_nothing_known(self, reach, bucket):
        server, sockets = reach(bucket)
        put(sockets, some(20))
        server.stop_listening()
        server.hang_up()
        assert put(sockets, some(20)) == [None] * 20
        assert not sockets.pool._idle

    def test_a_service_that_goes_away_within_a_call_leaves_the_rest(self, reach, bucket):
        gone = threading.Event()

        def talk(peer):
            for _ in range(5):
                bucket.one(peer)
            peer.server.stop_listening()
            gone.set()
            peer.close()

        _, sockets = reach(talk)
        objects = some(20)
        etags = put(sockets, objects, 1)
        check(bucket, objects, etags)
        assert gone.is_set()
        assert [etag is None for etag in etags] == [False] * 5 + [True] * 15

    @pytest.mark.parametrize("half_closes", [False, True])
    def test_an_answer_before_all_was_read_ends_the_wait(self, reach, small_buffers, selects, half_closes):
        def talk(peer):
            peer.socket.recv(100)
            if half_closes:
                peer.socket.shutdown(socket.SHUT_WR)
            else:
                peer.send(SLOW_DOWN)
            peer.server.over.wait(PATIENCE_S)

        _, sockets = reach(talk, buffer_bytes=4096, timeout_s=SHORT_S)
        assert put(sockets, some(3, 1 << 20)) == [None] * 3


class TestConnectionsThatEnd:
    def test_those_closed_between_two_calls_are_replaced(self, reach, bucket):
        server, sockets = reach(bucket)
        objects = some(40)
        etags = list(put(sockets, objects[:16], 8))
        server.hang_up()
        etags += put(sockets, objects[16:], 8)
        check_all(bucket, objects, etags)
        assert len(sockets.pool._idle) == 8

    def test_large_requests_on_those_closed_between_two_calls_arrive(self, reach, bucket, small_buffers):
        server, sockets = reach(bucket, buffer_bytes=4096)
        objects = some(12, 1 << 16)
        etags = list(put(sockets, objects[:4]))
        server.hang_up()
        etags += put(sockets, objects[4:])
        check_all(bucket, objects, etags)

    @pytest.mark.parametrize("answers", [1, 3])
    @pytest.mark.parametrize("reads_another", [False, True])
    def test_those_that_end_without_notice_are_replaced(self, reach, bucket, answers, reads_another):
        def talk(peer):
            for _ in range(answers):
                if not bucket.one(peer):
                    return
            if reads_another:
                bucket.take(peer)
            peer.close()

        server, sockets = reach(talk)
        objects = some(20)
        check_all(bucket, objects, put(sockets, objects, 4))
        assert len(server.peers) <= 20 // answers + 4

    @pytest.mark.parametrize("answers", [1, 3])
    def test_what_is_written_before_an_announced_end_is_known(self, reach, bucket, answers):
        _, sockets = reach(self.announcing(bucket, answers))
        objects = some(20)
        etags = put(sockets, objects, 4)
        check(bucket, objects, etags)
        assert sum(etag is not None for etag in etags) == len(bucket.received) >= 4 * answers

    @pytest.mark.parametrize("answers", [1, 3])
    def test_those_that_end_with_notice_are_replaced(self, reach, bucket, answers):
        _, sockets = reach(self.announcing(bucket, answers))
        objects = some(20)
        check_all(bucket, objects, put(sockets, objects, 4))

    @staticmethod
    def announcing(bucket, answers):
        def talk(peer):
            for number in range(answers):
                if not bucket.one(peer, "Connection: close\r\n" if number == answers - 1 else ""):
                    return
            peer.close()

        return talk


class TestBodies:
    @pytest.mark.parametrize("at", [0, 2, 9])
    def test_a_body_that_changed_is_told_and_nothing_stays_open(self, reach, bucket, at):
        _, sockets = reach(bucket)
        objects = some(10)
        objects.insert(at, changed())
        with pytest.raises(SourceChanged):
            put(sockets, objects, 3)
        assert not any(request.path.endswith("changed") for request in bucket.received)
        assert None not in put(sockets, some(10))

    def test_a_body_that_cannot_be_read_says_so_or_is_left(self, reach, bucket):
        _, sockets = reach(bucket, timeout_s=SHORT_S)
        for at in (0, 2, 9):
            objects = some(10)
            objects.insert(at, unreadable())
            with suppress(FileNotFoundError):
                assert put(sockets, objects, 3)[at] is None
            assert not any(request.path.endswith("gone") for request in bucket.received)

    @pytest.mark.parametrize("at", [0, 2])
    def test_a_body_that_cannot_be_read_is_not_waited_for(self, reach, bucket, selects, at):
        _, sockets = reach(bucket, timeout_s=SHORT_S)
        objects = some(10)
        objects.insert(at, unreadable())
        with suppress(FileNotFoundError):
            put(sockets, objects, 3)
        assert not selects["in vain"]

    @pytest.mark.parametrize("at", [0, 2, 9])
    def test_a_body_that_cannot_be_read_is_left_wherever_it_is(self, reach, bucket, at):
        _, sockets = reach(bucket, timeout_s=SHORT_S)
        objects = some(10)
        objects.insert(at, unreadable())
        assert put(sockets, objects, 3)[at] is None

    def test_credentials_that_cannot_be_got_are_not_waited_for(self, reach, bucket, selects):
        def none():
            raise BackendPermissionError("there are none")

        _, sockets = reach(bucket, timeout_s=SHORT_S, credentials=none)
        with suppress(BackendPermissionError):
            put(sockets, some(10))
        assert not selects["in vain"]


class TestCopies:
    """An object that the service is to copy is written only if its answer says so, with the ETag that was expected."""

    ETAG = "0123456789abcdef0123456789abcdef"

    def copies(self, count=3):
        return [Copy(path=f"to/{at}", source=f"other/a b/{at}#", source_etag=self.ETAG) for at in range(count)]

    def talk(self, bucket, reply):
        def talk(peer):
            while bucket.take(peer):
                head, end, body = reply.encode().partition(b"\r\n\r\n")
                peer.send(head + f"\r\nContent-Length: {len(body)}".encode() + end)
                peer.send(body[:30])
                peer.send(body[30:])

        return talk

    @pytest.mark.parametrize("etag", [ETAG, f'"{ETAG}"', f"&quot;{ETAG}&quot;", f"&#34;{ETAG}&#34;"])
    @pytest.mark.parametrize("attributes", ["", ' xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'])
    def test_an_answer_with_the_right_etag_is_success(self, reach, bucket, etag, attributes):
        body = (
            f"<CopyObjectResult{attributes}>\n<LastModified>2026</LastModified><ETag>{etag}</ETag></CopyObjectResult>"
        )
        _, sockets = reach(self.talk(bucket, f"HTTP/1.1 200 OK\r\n\r\n<?xml version='1.0'?>\n{body}"))
        assert put(sockets, self.copies()) == [self.ETAG] * 3
        for request in bucket.received:
            number = request.path[-1]
            assert (request.method, request.body) == ("PUT", b"")
            assert request.headers["x-amz-copy-source"] == f"other/a%20b/{number}%23"
            assert request.headers["x-amz-copy-source-if-match"] == f'"{self.ETAG}"'
            signed = request.headers["authorization"].partition("SignedHeaders=")[2].partition(",")[0].split(";")
            assert {"x-amz-copy-source", "x-amz-copy-source-if-match"} <= set(signed)

    @pytest.mark.parametrize(
        "reply",
        [
            "HTTP/1.1 200 OK\r\n\r\n",
            f'HTTP/1.1 200 OK\r\nETag: "{ETAG}"\r\n\r\n',
            "HTTP/1.1 200 OK\r\n\r\n<Error><Code>InternalError</Code></Error>",
            f"HTTP/1.1 200 OK\r\n\r\n<Error><ETag>{ETAG}</ETag></Error>",
            "HTTP/1.1 200 OK\r\n\r\n<CopyObjectResult><ETag>fedcba9876543210</ETag></CopyObjectResult>",
            f"HTTP/1.1 200 OK\r\n\r\n<CopyObjectResult><ETag>{ETAG}&amp;more</ETag></CopyObjectResult>",
            f"HTTP/1.1 412 Failed\r\n\r\n<CopyObjectResult><ETag>{ETAG}</ETag></CopyObjectResult>",
            f"HTTP/1.1 200 OK\r\n\r\n<CopyObjectResult><ETag>{ETAG}</ETag>{' ' * 20_000}</CopyObjectResult>",
        ],
    )
    def test_any_other_is_none(self, reach, bucket, reply):
        _, sockets = reach(self.talk(bucket, reply))
        assert put(sockets, self.copies()) == [None] * 3
        assert not sockets.pool._idle

    @pytest.mark.parametrize(
        ("reply", "is_paused"),
        [
            ("HTTP/1.1 412 Failed\r\n\r\n<Error />", False),
            ("HTTP/1.1 403 Forbidden\r\n\r\n<Error />", False),
            ("HTTP/1.1 200 OK\r\n\r\n<CopyObjectResult><ETag>fedcba9876543210</ETag></CopyObjectResult>", False),
            ("HTTP/1.1 200 OK\r\n\r\n<Error><Code>InternalError</Code></Error>", True),
            ("HTTP/1.1 503 Slow Down\r\n\r\n", True),
        ],
    )
    def test_only_trouble_leaves_all_else_to_obstore_for_a_while(self, reach, bucket, monkeypatch, reply, is_paused):
        monkeypatch.setattr(module, "PAUSE_S", 60.0)
        _, sockets = reach(self.talk(bucket, reply))
        assert put(sockets, self.copies()) == [None] * 3
        assert sockets.is_paused == is_paused

    def test_a_source_that_cannot_be_named_in_a_header_is_none(self, reach, bucket):
        _, sockets = reach(self.talk(bucket, ""))
        assert put(sockets, [Copy(path="to", source="other/\udc80", source_etag=self.ETAG)]) == [None]
        assert not bucket.received

    def test_they_go_along_with_small_objects(self, reach, bucket):
        answer = f"<CopyObjectResult><ETag>{self.ETAG}</ETag></CopyObjectResult>"

        def talk(peer):
            while request := bucket.take(peer):
                if request.path.startswith("/bucket/to/"):
                    peer.send(f"HTTP/1.1 200 OK\r\nContent-Length: {len(answer)}\r\n\r\n{answer}".encode())
                else:
                    bucket.answer(peer, request)

        _, sockets = reach(talk)
        objects = some(2)
        expected = [self.ETAG, *(etag_of(small.body.read()) for small in objects), self.ETAG]
        assert put(sockets, [self.copies()[0], *objects, self.copies()[1]], 1) == expected
