"""A stream of chunks reads like a file, however they are cut."""

from __future__ import annotations

import hashlib
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from t9k.em.chunks import ChunkStream, sha256_of

chunk_lists = st.lists(st.binary(max_size=20), max_size=8)  # empty chunks among them


@given(chunk_lists, st.lists(st.integers(0, 30), max_size=20))
def test_read_gives_what_a_file_gives(chunks, sizes):
    stream, file = ChunkStream(chunks), io.BytesIO(b"".join(chunks))
    for size in sizes:
        assert stream.read(size) == file.read(size)
    assert stream.read() == file.read()
    assert stream.read(1) == b""


@given(chunk_lists, st.integers(1, 30))
def test_readinto_ends_only_at_the_end(chunks, size):
    stream, found, buffer = ChunkStream(chunks), b"", bytearray(size)
    while count := stream.readinto(buffer):
        found += buffer[:count]
    assert found == b"".join(chunks)


@given(chunk_lists)
def test_a_buffered_reader_reads_all(chunks):
    assert io.BufferedReader(ChunkStream(chunks), 7).read() == b"".join(chunks)


def test_a_view_of_one_chunk_is_no_copy():
    chunk = bytes(100)
    view = ChunkStream([chunk]).view(60)
    assert view.obj is chunk
    assert len(view) == 60


def test_an_error_of_the_chunks_comes_out_of_the_read_that_needs_them():
    def chunks():
        yield b"ab"
        raise OSError("lost")

    stream = ChunkStream(chunks())
    assert stream.readable()
    assert stream.read(2) == b"ab"
    with pytest.raises(OSError, match="lost"):
        stream.read(1)


@given(chunk_lists)
def test_the_hash_is_that_of_all_bytes(chunks):
    assert sha256_of(chunks) == hashlib.sha256(b"".join(chunks)).hexdigest()
