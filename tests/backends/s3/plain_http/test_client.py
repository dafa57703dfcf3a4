"""Sockets of our own go straight to a service without TLS, take only what was asked for, and leave nothing open."""

from __future__ import annotations

import logging
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from urllib.parse import unquote

import pytest
from attrs import evolve
from tests.backends.s3.scripted import PATIENCE_S, SHORT_S, Server, an_access, keys_of

from t9k.em.records import Body
from t9k_em_backends.s3.clients import make_driver
from t9k_em_backends.s3.location import S3Location
from t9k_em_backends.s3.plain_http import client
from t9k_em_backends.s3.plain_http import pool as module
from t9k_em_backends.s3.plain_http.client import Sockets, sockets_for
from t9k_em_backends.s3.plain_http.connection import IS_POSSIBLE, Refused
from t9k_em_backends.s3.plain_http.pool import CREDENTIALS_S, MOST_KEPT
from t9k_em_backends.s3.plain_http.writes import Small

pytestmark = pytest.mark.skipif(not IS_POSSIBLE, reason="sockets of this system cannot do it")

DATA = bytes(range(256)) * 40
SIZE = len(DATA)
ETAG = '"an-etag"'


def partial(start, end, *, whole=SIZE, status="206 Partial Content", data=None, extra=""):
    """The answer with a range, `end` exclusive."""
    data = DATA[start:end] if data is None else data
    head = f"HTTP/1.1 {status}\r\nContent-Length: {len(data)}\r\nContent-Range: bytes {start}-{end - 1}/{whole}\r\n"
    return f"{head}{extra}\r\n".encode() + data


def answer(request):
    """The right one."""
    first, last = request.headers["range"].removeprefix("bytes=").split("-")
    return partial(int(first), min(int(last) + 1, len(DATA)))


def well(peer):
    """Answers all requests as they should be."""
    while request := peer.request():
        peer.send(answer(request))


def well_after(reply):
    """Answers one request so, and all others as is right."""
    replies = [reply]

    def talk(peer):
        while request := peer.request():
            peer.send(replies.pop() if replies else answer(request))

    return talk


def always(reply):
    def talk(peer):
        while peer.request():
            peer.send(reply)

    return talk


def read(sockets: Sockets, start=0, size=100, path="a/key"):
    buffer = bytearray(size)
    whole = sockets.read_into(path, start, memoryview(buffer))
    return whole, bytes(buffer)


class TestWhichServices:
    @pytest.mark.parametrize(
        "endpoint",
        ["", "https://s3.example", "HTTPS://s3.example", "http://", "http://me@s3.example", "http://me:pw@s3.example", "s3.example:80"],
    )  # fmt: skip
    def test_others_are_left_to_obstore(self, endpoint):
        assert sockets_for("bucket", an_access(endpoint), 1) is None

    def test_unsigned_requests_are_left_to_obstore(self):
        assert sockets_for("bucket", an_access("http://s3.example", credentials=None), 1) is None

    def test_what_a_proxy_reaches_is_left_to_obstore(self):
        access = evolve(an_access("http://s3.example"), proxy="http://proxy.example:3128")
        assert sockets_for("bucket", access, 1) is None

    @pytest.mark.parametrize(
        ("endpoint", "address", "host", "root"),
        [
            ("http://s3.example", ("s3.example", 80), "s3.example", "/bucket/"),
            ("HTTP://S3.example:80", ("s3.example", 80), "S3.example:80", "/bucket/"),
            ("http://s3.example/under/it", ("s3.example", 80), "s3.example", "/under/it/bucket/"),
            ("http://10.0.0.1:9000", ("10.0.0.1", 9000), "10.0.0.1:9000", "/bucket/"),
            ("http://[::1]:8333", ("::1", 8333), "[::1]:8333", "/bucket/"),
            ("http://[::1]", ("::1", 80), "[::1]", "/bucket/"),
        ],
    )
    def test_the_bucket_may_stand_in_the_path(self, endpoint, address, host, root):
        sockets = sockets_for("bucket", an_access(endpoint), 1)
        assert sockets is not None
        assert (sockets.pool._address, sockets.pool._host, sockets.pool._root) == (address, host, root)

    def test_a_bucket_in_the_name_of_the_host_is_left_to_obstore(self):
        assert sockets_for("bucket", an_access("http://s3.example", path_style=False), 1) is None

    @pytest.mark.parametrize("path", ["", "/under", "/a%20b"])
    def test_host_and_path_are_those_to_which_obstore_goes(self, path):
        import obstore

        requests = []

        def talk(peer):
            while request := peer.request():
                requests.append(request)
                peer.send(f"HTTP/1.1 200 OK\r\nETag: {ETAG}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
                peer.close()

        with Server(talk) as server:  # obstore's own descriptors stay
            access = an_access(f"http://127.0.0.1:{server.address[1]}{path}")
            driver = make_driver(S3Location(bucket="bucket"), access, access.credentials)
            obstore.put(driver, "a b/~+%*ü", b"data", use_multipart=False)
        sockets = sockets_for("bucket", access, 1)
        assert sockets is not None
        ours = sockets.pool.request("PUT", "a b/~+%*ü", {}).decode().split(" ")[1]
        assert (sockets.pool._host, ours) == (requests[0].headers["host"], requests[0].path)

    def test_a_port_that_is_none_is_left_to_obstore(self):
        assert sockets_for("bucket", an_access("http://s3.example:99999"), 1) is None

    def test_a_host_in_letters_of_another_script_is_left_to_obstore(self):
        sockets = sockets_for("bucket", an_access("http://bücher.invalid"), 1)
        if sockets is not None:
            with pytest.raises((Refused, OSError)):
                read(sockets)


class TestReadInto:
    @pytest.mark.parametrize(("start", "size"), [(0, 100), (17, 1), (0, len(DATA)), (len(DATA) - 5, 5)])
    def test_a_buffer_is_filled(self, reach, start, size):
        _, sockets = reach(well)
        assert read(sockets, start, size) == (len(DATA), DATA[start : start + size])

    def test_an_object_that_ends_within_the_buffer_fills_its_beginning(self, reach):
        _, sockets = reach(well)
        assert read(sockets, len(DATA) - 5, 8) == (len(DATA), DATA[-5:] + bytes(3))

    def test_a_large_buffer_is_filled(self, reach):
        data = DATA * 400
        _, sockets = reach(always(partial(0, len(data), whole=len(data), data=data)))
        assert read(sockets, 0, len(data)) == (len(data), data)

    def test_what_is_asked_for_is_what_the_service_gets(self, reach):
        requests = []

        def talk(peer):
            while request := peer.request():
                requests.append(request)
                peer.send(answer(request))

        server, sockets = reach(talk, credentials=lambda: keys_of(token="a-token"))
        read(sockets, 5, 10, path="ä b/~+%*?#")
        [request] = requests
        assert (request.method, request.path) == ("GET", "/bucket/%C3%A4%20b/~%2B%25%2A%3F%23")
        assert unquote(request.path) == "/bucket/ä b/~+%*?#"
        assert request.headers["host"] == f"127.0.0.1:{server.address[1]}"
        assert request.headers["range"] == "bytes=5-14"
        assert request.headers["x-amz-security-token"] == "a-token"
        assert request.headers["authorization"].startswith("AWS4-HMAC-SHA256 Credential=id/")

    def test_an_endpoint_may_be_an_address_of_ipv6(self, reach):
        try:
            with socket.create_server(("::1", 0), family=socket.AF_INET6):
                pass
        except OSError:
            pytest.skip("this machine has no IPv6")
        _, sockets = reach(well, host="::1")
        assert read(sockets) == (len(DATA), DATA[:100])

    @pytest.mark.parametrize(
        "reply",
        [
            partial(0, 100, status="200 OK"),
            partial(0, 100, status="404 Not Found"),
            partial(0, 100, status="403 Forbidden"),
            partial(0, 100, status="503 Slow Down"),
            b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n" + DATA[:100],
            b"HTTP/1.1 307 Temporary Redirect\r\nLocation: http://other/\r\nContent-Length: 0\r\n\r\n",
            b"HTTP/1.1 416 Range Not Satisfiable\r\nContent-Range: bytes */50\r\nContent-Length: 0\r\n\r\n",
            b"HTTP/1.1 204 No Content\r\n\r\n",
            partial(1, 101),
            partial(0, 99),
            partial(0, 101),
            partial(0, 100, whole=50),
            partial(0, 100, data=DATA[:99]),
            partial(0, 100, data=DATA[:101]),
            partial(0, 100, whole="*"),
            partial(0, 100).replace(b"bytes 0", b"items 0"),
            partial(0, 100).replace(b"Content-Range", b"X-Range"),
            partial(0, 100).replace(b"bytes 0-99/", b"bytes 0-99"),
            partial(0, 100, extra="Transfer-Encoding: chunked\r\n"),
            partial(0, 100).replace(b"HTTP/1.1", b"HTTP/1.0"),
            partial(0, 100) + b"more",
        ],
    )
    def test_any_other_answer_is_refused_and_its_connection_closed(self, reach, reply):
        server, sockets = reach(always(reply))
        for _ in range(2):
            with pytest.raises(Refused):
                read(sockets)
        assert len(server.peers) == 2
        assert not sockets.pool._idle

    def test_a_read_past_the_end_is_refused(self, reach):
        _, sockets = reach(
            always(b"HTTP/1.1 416 Range Not Satisfiable\r\nContent-Range: bytes */10240\r\nContent-Length: 0\r\n\r\n")
        )
        with pytest.raises(Refused, match="416"):
            read(sockets, len(DATA), 10)

    def test_no_answer_in_time_is_an_error(self, reach):
        def talk(peer):
            request = peer.request()
            peer.server.over.wait(3)
            peer.send(answer(request))

        _, sockets = reach(talk, timeout_s=SHORT_S)
        with pytest.raises(OSError):
            read(sockets)
        assert not sockets.pool._idle

    def test_nobody_there_is_an_error(self, reach):
        server, sockets = reach(well)
        server.stop_listening()
        with pytest.raises(OSError):
            read(sockets)

    def test_a_body_that_ends_early_is_an_error(self, reach):
        def talk(peer):
            peer.request()
            peer.send(partial(0, 100)[:-10])
            peer.close()

        server, sockets = reach(talk)
        with pytest.raises(OSError):
            read(sockets)
        assert len(server.peers) == 1
        assert not sockets.pool._idle


class TestConnections:
    def test_one_connection_serves_one_read_after_the_other(self, reach):
        server, sockets = reach(well)
        for start in range(5):
            assert read(sockets, start)[1] == DATA[start : start + 100]
        assert len(server.peers) == 1

    def test_reads_at_the_same_time_have_their_own(self, reach):
        all_there = threading.Barrier(4)

        def talk(peer):
            while request := peer.request():
                all_there.wait(PATIENCE_S)
                peer.send(answer(request))

        server, sockets = reach(talk)
        results = {}
        threads = [threading.Thread(target=lambda at=at: results.update({at: read(sockets, at)[1]})) for at in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert results == {at: DATA[at : at + 100] for at in range(4)}
        assert len(server.peers) == len(sockets.pool._idle) == 4

    def test_no_more_are_kept_than_may_be(self, reach, monkeypatch):
        server, sockets = reach(well)
        monkeypatch.setattr("t9k_em_backends.s3.plain_http.pool.MOST_KEPT", 0)
        assert MOST_KEPT > 0
        for _ in range(3):
            read(sockets)
        assert len(server.peers) == 3
        assert not sockets.pool._idle

    def test_a_connection_that_is_announced_to_end_is_not_used_again(self, reach):
        def talk(peer):
            while peer.request():
                peer.send(partial(0, 100, extra="Connection: close\r\n"))

        server, sockets = reach(talk)
        for _ in range(3):
            assert read(sockets)[1] == DATA[:100]
        assert len(server.peers) == 3
        assert not sockets.pool._idle

    def test_one_that_was_closed_meanwhile_is_replaced(self, reach):
        server, sockets = reach(well)
        for _ in range(3):
            read(sockets)
            server.hang_up()
        assert read(sockets) == (len(DATA), DATA[:100])
        assert len(server.peers) == 4

    def test_one_that_ends_with_the_request_is_replaced(self, reach):
        def talk(peer):
            peer.send(answer(peer.request()))
            peer.request()
            peer.close()

        server, sockets = reach(talk)
        for _ in range(3):
            assert read(sockets)[1] == DATA[:100]
        assert len(server.peers) == 3

    def test_all_that_were_closed_meanwhile_are_gone_through(self, reach):
        server, sockets = reach(well)
        for connection in [sockets.pool.connect() for _ in range(5)]:
            got = connection.ask(sockets.pool.request("GET", "a/key", {"range": "bytes=0-0"}))
            connection.fill(memoryview(bytearray(1)))
            sockets.pool.keep(connection, got)
        assert len(sockets.pool._idle) == 5
        server.hang_up()
        assert read(sockets)[1] == DATA[:100]
        assert len(sockets.pool._idle) == 1

    def test_a_new_one_that_ends_is_an_error_and_there_is_no_second(self, reach):
        def talk(peer):
            peer.request()
            peer.close()

        server, sockets = reach(talk)
        with pytest.raises(ConnectionError):
            read(sockets)
        assert len(server.peers) == 1

    def test_the_replacement_that_ends_is_an_error_and_there_is_no_third(self, reach):
        def talk(peer):
            request = peer.request()
            if peer.number == 0:
                peer.send(answer(request))
                peer.request()
            peer.close()

        server, sockets = reach(talk)
        read(sockets)
        with pytest.raises(ConnectionError):
            read(sockets)
        assert len(server.peers) == 2

    def test_an_answer_that_nobody_asked_for_is_not_that_to_the_next_request(self, reach):
        asked = threading.Event()

        def talk(peer):
            peer.send(answer(peer.request()))
            if peer.number == 0:
                asked.wait(PATIENCE_S)
                peer.send(partial(0, 100, data=b"x" * 100))
            while request := peer.request():
                peer.send(answer(request))

        _, sockets = reach(talk)
        read(sockets)
        asked.set()
        sockets.pool._idle[0][1].socket.settimeout(PATIENCE_S)
        sockets.pool._idle[0][1].socket.recv(1, socket.MSG_PEEK)  # until it is there
        assert read(sockets)[1] == DATA[:100]

    def test_closing_ends_what_nobody_uses_and_more_may_follow(self, reach):
        server, sockets = reach(well)
        read(sockets)
        sockets.close()
        server._join()
        assert read(sockets)[1] == DATA[:100]
        assert len(server.peers) == 2


class TestTrouble:
    """A service that has some, or is of another kind, is left to obstore for a while."""

    @pytest.fixture(autouse=True)
    def _rest(self, monkeypatch):
        monkeypatch.setattr(module, "PAUSE_S", 60.0)

    @pytest.mark.parametrize(
        "status", ["503 Slow Down", "500 Internal Server Error", "429 Too Many Requests", "200 OK", "307 Elsewhere"]
    )
    def test_is_not_asked_again_at_once(self, reach, status):
        server, sockets = reach(always(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode()))
        for _ in range(3):
            with pytest.raises(Refused):
                read(sockets)
        small = Small("a", Body.of(b"a"))
        assert sockets.put_many([small] * 3, 2, lambda _: None) == [None] * 3
        assert len(server.peers) == 1

    def test_after_a_while_it_is(self, reach, monkeypatch):
        _, sockets = reach(well_after(b"HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\n\r\n"))
        with pytest.raises(Refused):
            read(sockets)
        now = time.monotonic()
        monkeypatch.setattr(module.time, "monotonic", lambda: now + 61)
        assert read(sockets)[1] == DATA[:100]

    @pytest.mark.parametrize("status", [403, 404, 412, 416])
    def test_is_not_what_the_service_has_not(self, reach, status):
        _, sockets = reach(well_after(f"HTTP/1.1 {status} No\r\nContent-Length: 0\r\n\r\n".encode()))
        with pytest.raises(Refused):
            read(sockets)
        assert read(sockets)[1] == DATA[:100]

    def test_a_service_that_is_away_is_waited_for_once(self, reach):
        server, sockets = reach(well)
        server.stop_listening()
        with pytest.raises(OSError, match=r"refused"):
            read(sockets)
        with pytest.raises(Refused, match="later"):
            read(sockets)

    def test_many_that_wait_for_their_turn_do_not_wait_for_the_service_too(self, reach):
        def mute(peer):
            peer.server.over.wait(PATIENCE_S)

        server, sockets = reach(mute, timeout_s=SHORT_S)
        objects = [Small(str(number), Body.of(b"a")) for number in range(4)]
        with ThreadPoolExecutor(16) as pool:
            before = time.monotonic()
            putting = [pool.submit(sockets.put_many, objects, 2, lambda _: None) for _ in range(16)]
            assert [put.result() for put in putting] == [[None] * 4] * 16
        assert time.monotonic() - before < 8 * SHORT_S
        assert len(server.peers) <= 4


class TestIdle:
    def test_what_nobody_used_for_long_is_closed(self, reach, monkeypatch):
        server, sockets = reach(well)
        first, second = sockets.pool.connect(), sockets.pool.connect()
        for connection in (first, second):
            sockets.pool.keep(connection, connection.ask(sockets.pool.request("GET", "a", {"range": "bytes=0-9"})))
            connection.fill(memoryview(bytearray(10)))
        now = time.monotonic()
        monkeypatch.setattr(module.time, "monotonic", lambda: now + module.IDLE_S + 1)
        read(sockets)
        assert len(sockets.pool._idle) == 1
        assert len(server.peers) == 3

    def test_nothing_stays_open_of_a_store_that_nobody_closed(self, reach):
        server, sockets = reach(well)
        read(sockets)
        sockets.pool.__del__()
        server.peers[0].ended()

    def test_no_more_are_opened_than_this_process_may_have(self, monkeypatch):
        import resource

        monkeypatch.setattr(resource, "getrlimit", lambda _: (256, 1024))
        assert client._most_open() == 64


class TestCredentials:
    def test_they_are_asked_for_again_after_a_while(self, reach, monkeypatch):
        now = [1000.0]
        monkeypatch.setattr("t9k_em_backends.s3.plain_http.pool.time", SimpleNamespace(monotonic=lambda: now[0]))
        given = []
        tokens = []

        def credentials():
            given.append(now[0])
            return keys_of(token=f"token-{len(given)}")

        def talk(peer):
            while request := peer.request():
                tokens.append(request.headers["x-amz-security-token"])
                peer.send(answer(request))

        _, sockets = reach(talk, credentials=credentials)
        for after in (0, CREDENTIALS_S / 2, CREDENTIALS_S - 0.1, CREDENTIALS_S, CREDENTIALS_S + 1, 2 * CREDENTIALS_S):
            now[0] = 1000.0 + after
            read(sockets)
        assert given == [1000.0, 1000.0 + CREDENTIALS_S, 1000.0 + 2 * CREDENTIALS_S]
        assert tokens == ["token-1"] * 3 + ["token-2"] * 2 + ["token-3"]

    def test_that_there_are_none_is_told_and_not_remembered(self, reach):
        answers = [PermissionError("no"), keys_of()]

        def credentials():
            given = answers.pop(0)
            if isinstance(given, Exception):
                raise given
            return given

        server, sockets = reach(well, credentials=credentials)
        with pytest.raises(PermissionError):
            read(sockets)
        assert not server.peers
        assert read(sockets)[1] == DATA[:100]

    def test_no_secret_is_shown(self, reach, caplog):
        caplog.set_level(logging.DEBUG)
        _, sockets = reach(always(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"))
        sockets.pool._ask_credentials = lambda: keys_of("very-secret", "secret-token")
        with pytest.raises(Refused) as refused:
            read(sockets)
        shown = f"{caplog.text} {sockets!r} {refused.value!r} {refused.value}"
        assert "secret" not in shown
        assert "Signature" not in shown
