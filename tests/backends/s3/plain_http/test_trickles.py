"""A service that sends a byte now and then, each in time, keeps nobody for ever."""

from __future__ import annotations

import hashlib

import pytest
from tests.backends.s3.scripted import SHORT_S

from t9k.em.records import Body
from t9k_em_backends.s3.plain_http.connection import IS_POSSIBLE
from t9k_em_backends.s3.plain_http.writes import Small

pytestmark = pytest.mark.skipif(not IS_POSSIBLE, reason="sockets of this system cannot do it")

SIZE = 400
PIECE_S = SHORT_S / 4


def drip(peer, data):
    for byte in data:
        peer.send(bytes([byte]))
        if peer.server.over.wait(PIECE_S):
            return


def partial(extra=""):
    return (
        f"HTTP/1.1 206 Partial Content\r\nContent-Length: {SIZE}\r\nContent-Range: bytes 0-{SIZE - 1}/{SIZE}\r\n"
        f"{extra}\r\n"
    ).encode()


def read(sockets):
    return sockets.read_into("key", 0, memoryview(bytearray(SIZE)))


def test_a_head_that_trickles_is_given_up(reach):
    def talk(peer):
        peer.request()
        drip(peer, partial(f"X: {'x' * SIZE}\r\n"))
        peer.send(b"a" * SIZE)

    _, sockets = reach(talk, timeout_s=SHORT_S)
    with pytest.raises(TimeoutError):
        read(sockets)


def test_an_object_that_trickles_is_given_up(reach):
    def talk(peer):
        peer.request()
        peer.send(partial())
        drip(peer, b"a" * SIZE)

    _, sockets = reach(talk, timeout_s=SHORT_S)
    with pytest.raises(TimeoutError):
        read(sockets)
    assert not sockets.pool._idle


@pytest.mark.parametrize("width", [1, 4])
def test_answers_that_trickle_to_many_writes_are_given_up(reach, width):
    etag = hashlib.md5(b"a").hexdigest()

    def talk(peer):
        while peer.request():
            drip(peer, f'HTTP/1.1 200 OK\r\nETag: "{etag}"\r\nX: {"x" * SIZE}\r\nContent-Length: 0\r\n\r\n'.encode())

    _, sockets = reach(talk, timeout_s=SHORT_S)
    objects = [Small(str(number), Body.of(b"a")) for number in range(4)]
    assert sockets.put_many(objects, width, lambda _: None) == [None] * 4
