"""Bodies in pieces read like the bytes that they are."""

from __future__ import annotations

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from t9k.em.server.bodies import Received

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


@given(PIECES)
def test_a_body_knows_its_size_and_checksum_and_opens_again(pieces):
    body, whole = Received(pieces), b"".join(pieces)
    assert (body.size, body.read(), body.sha256()) == (len(whole), whole, hashlib.sha256(whole).digest())
    assert [body.open().read(), body.open().read()] == [whole, whole]
