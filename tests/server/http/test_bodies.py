"""Bodies in pieces read like the bytes that they are."""

from __future__ import annotations

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from t9k.em.records import Body
from t9k.em.server.http.bodies import Received

PIECES = st.lists(st.binary(min_size=1, max_size=20), max_size=8)


@given(PIECES, st.lists(st.integers(0, 30), max_size=8))
def test_any_reads_give_the_bytes_in_order(pieces, sizes):
    body, whole = Received(pieces), b"".join(pieces)
    with body.open() as stream:
        at = 0
        for size in sizes:
            assert stream.read(size) == whole[at : at + size]
            at = min(at + size, len(whole))
        assert stream.read() == whole[at:]
        assert stream.read(1) == b""


@given(PIECES.map(lambda pieces: [memoryview(piece) for piece in pieces]), st.integers(1, 30))
def test_what_is_read_is_bytes_and_what_is_viewed_is_not_copied(pieces, size):
    """Drivers of stores take bytes, and some of them nothing else."""
    received, whole = Received(pieces), b"".join(pieces)
    body = Body(size=received.size, sha256="", open=received.open)
    assert body.read() == whole
    assert {type(chunk) for chunk in [body.read(), *body.chunks(size)]} == {bytes}
    assert b"".join(body.chunks(size)) == b"".join(body.views(size)) == whole
    assert all(len(view) == size for view in [*body.views(size)][:-1])
    with received.open() as stream:
        view = stream.view(1)
    assert not pieces or view.obj is pieces[0].obj


@given(PIECES)
def test_a_body_knows_its_size_and_checksum_and_opens_again(pieces):
    body, whole = Received(pieces), b"".join(pieces)
    assert (body.size, body.read(), body.sha256()) == (len(whole), whole, hashlib.sha256(whole).digest())
    assert [body.open().read(), body.open().read()] == [whole, whole]
