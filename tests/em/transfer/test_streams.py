"""Streams that seek: the bytes of an object wherever they are read, checked as far as they can be, and few others."""

from __future__ import annotations

import hashlib
import io
import os
import random
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from t9k.em.errors import BackendUnavailable, CorruptData, InvalidInput
from t9k.em.transfer.streams import AHEAD_BLOCKS, BLOCK_BYTES, KEPT_BLOCKS, Ranges, local_ranges, open_ranges

LARGE = random.Random(1).randbytes((2 * AHEAD_BLOCKS + 3) * BLOCK_BYTES + 17)


class Place:
    """Bytes that can be read by ranges, and which ones were."""

    def __init__(self, data: bytes, *, is_like: bytes | None = None, piece: int = 100_000) -> None:
        self.data = data
        self.asked: list[tuple[int, int | None]] = []
        self.moved = 0
        self.failures = 0
        self.closed = 0
        self._piece = piece
        announced = data if is_like is None else is_like
        self.ranges = Ranges(
            size=len(announced),
            sha256=hashlib.sha256(announced).hexdigest(),
            what="it",
            read=self._read,
            close=self._close,
        )

    def _close(self):
        self.closed += 1

    def _read(self, start, end):
        self.asked.append((start, end))
        data = self.data[start:end]
        for at in range(0, len(data), self._piece):
            if self.failures:
                self.failures -= 1
                raise BackendUnavailable("not now")
            self.moved += len(data[at : at + self._piece])
            yield data[at : at + self._piece]


steps = st.lists(
    st.one_of(
        st.tuples(st.just("read"), st.one_of(st.integers(0, 1000), st.integers(0, len(LARGE) + 9), st.just(-1))),
        st.tuples(st.just("seek"), st.integers(0, len(LARGE) + 1000)),
        st.tuples(st.just("back"), st.integers(0, 700_000)),
        st.tuples(st.just("end"), st.integers(0, 700_000)),
    ),
    max_size=12,
)


@pytest.mark.long
@given(steps)
def test_any_reading_is_that_of_a_file(history):
    stream, model = open_ranges(Place(LARGE).ranges), io.BytesIO(LARGE)
    for what, number in history:
        if what == "read":
            assert stream.read(number) == model.read(number)
        elif what == "seek":
            assert stream.seek(number) == model.seek(number)
        elif what == "back":
            back = min(number, model.tell())
            assert stream.seek(-back, os.SEEK_CUR) == model.seek(-back, os.SEEK_CUR)
        else:
            assert stream.seek(-number, os.SEEK_END) == model.seek(-number, os.SEEK_END)
        assert stream.tell() == model.tell()


class TestInOrder:
    @pytest.mark.parametrize("step", [1000, BLOCK_BYTES, 3_000_000, len(LARGE), -1])
    def test_the_last_bytes_come_only_after_the_check(self, step):
        wrong = LARGE[:5] + b"x" + LARGE[6:]
        stream = open_ranges(Place(wrong, is_like=LARGE).ranges)
        got = 0
        with pytest.raises(CorruptData, match="it is not what was uploaded"):  # noqa: PT012 - some read of many
            while piece := stream.read(step):
                got += len(piece)
        assert got < len(LARGE)
        with pytest.raises(CorruptData):
            stream.read(step)

    @pytest.mark.parametrize("size", [0, 1, 1000, BLOCK_BYTES, BLOCK_BYTES + 1, 40 * BLOCK_BYTES])
    @pytest.mark.parametrize("flaw", ["cut", "longer", "gone"])
    def test_another_size_is_an_error(self, size, flaw):
        data = LARGE[:size]
        there = {"cut": data[:-1], "longer": data + b"x", "gone": b""}[flaw]
        if there == data:
            there = b"x"
        for step in (7777, -1):
            stream = open_ranges(Place(there, is_like=data).ranges)
            with pytest.raises(CorruptData):  # noqa: PT012 - some read of many
                while stream.read(step):
                    pass

    def test_all_is_moved_once_in_few_requests(self):
        place = Place(LARGE)
        stream = open_ranges(place.ranges)
        assert b"".join(iter(lambda: stream.read(5000), b"")) == LARGE
        assert place.moved == len(LARGE)
        assert len(place.asked) < 10

    def test_a_read_of_all_is_one_request(self):
        place = Place(LARGE)
        assert open_ranges(place.ranges).read() == LARGE
        assert place.asked == [(0, None)]

    def test_looking_for_the_size_first_does_not_matter(self):
        wrong = Place(b"x" + LARGE[1:], is_like=LARGE)
        stream = open_ranges(wrong.ranges)
        assert stream.seek(0, os.SEEK_END) == len(LARGE)
        stream.seek(0)
        with pytest.raises(CorruptData):
            stream.read()

    def test_every_pass_is_checked(self):
        place = Place(LARGE)
        stream = open_ranges(place.ranges)
        assert stream.read() == LARGE
        place.data = b"x" + LARGE[1:]
        stream.seek(0)
        with pytest.raises(CorruptData):
            stream.read()
        place.data = LARGE
        stream.seek(0)
        assert stream.read() == LARGE

    def test_an_object_that_was_found_damaged_gives_nothing_more(self):
        stream = open_ranges(Place(LARGE[:-1] + b"x", is_like=LARGE[:-1] + b"y").ranges)
        stream.read(1000)
        with pytest.raises(CorruptData):
            stream.read()
        for at in (None, 5, BLOCK_BYTES * 3):
            if at is not None:
                stream.seek(at)
            with pytest.raises(CorruptData):
                stream.read(10)

    def test_after_an_error_it_goes_on_from_where_one_seeks_to(self):
        place = Place(LARGE)
        stream = open_ranges(place.ranges)
        start = stream.read(1000)
        place.failures = 1
        with pytest.raises(BackendUnavailable):
            stream.read()
        stream.seek(1000)
        assert start + stream.read() == LARGE


class TestAnywhere:
    def test_few_bytes_are_moved_for_few(self):
        place = Place(LARGE)
        stream = open_ranges(place.ranges)
        for at in (8 * BLOCK_BYTES + 5, 40 * BLOCK_BYTES, 3):
            stream.seek(at)
            assert stream.read(8) == LARGE[at : at + 8]
        assert place.moved == 3 * BLOCK_BYTES

    def test_a_large_part_is_one_request_and_not_kept(self):
        place = Place(LARGE)
        stream = open_ranges(place.ranges)
        size = AHEAD_BLOCKS * BLOCK_BYTES + 100_000
        stream.seek(1000)
        assert stream.read(size) == LARGE[1000 : 1000 + size]
        assert place.moved < size + 2 * BLOCK_BYTES
        assert len(stream.raw._blocks) <= 2

    def test_what_was_used_last_is_kept(self):
        place = Place(LARGE)
        stream = open_ranges(place.ranges)
        for _ in range(20):
            for at in (0, 30 * BLOCK_BYTES, 50 * BLOCK_BYTES):
                stream.seek(at)
                assert stream.read(10) == LARGE[at : at + 10]
        assert place.moved == 3 * BLOCK_BYTES

    def test_what_was_not_used_for_long_goes_first(self):
        place = Place(LARGE)
        stream = open_ranges(place.ranges)
        for index in range(KEPT_BLOCKS, 0, -1):
            for at in (index * BLOCK_BYTES, KEPT_BLOCKS * BLOCK_BYTES):
                stream.seek(at)
                stream.read(1)
        place.asked.clear()
        for at, is_kept in ((0, False), (KEPT_BLOCKS * BLOCK_BYTES, True), ((KEPT_BLOCKS - 1) * BLOCK_BYTES, False)):
            stream.seek(at)
            stream.read(1)
            assert (place.asked == []) is is_kept
            place.asked.clear()

    def test_what_is_kept_is_not_moved_again(self):
        place = Place(LARGE)
        stream = open_ranges(place.ranges)
        stream.seek(2 * BLOCK_BYTES)
        stream.read(1)
        stream.seek(0)
        assert stream.read(3 * BLOCK_BYTES) == LARGE[: 3 * BLOCK_BYTES]
        assert place.asked[:2] == [(2 * BLOCK_BYTES, 3 * BLOCK_BYTES), (0, 2 * BLOCK_BYTES)]

    def test_memory_is_bounded(self):
        stream = open_ranges(Place(LARGE).ranges)
        for at in range(len(LARGE) - 1, 0, -BLOCK_BYTES):
            stream.seek(at)
            stream.read(1)
            assert len(stream.raw._blocks) <= KEPT_BLOCKS

    def test_a_small_object_is_checked_wherever_it_is_read(self):
        data = LARGE[:BLOCK_BYTES]
        stream = open_ranges(Place(data[:-1] + b"x" if data[-1:] != b"x" else data[:-1] + b"y", is_like=data).ranges)
        stream.seek(1000)
        with pytest.raises(CorruptData):
            stream.read(10)

    def test_a_part_that_is_not_there_is_an_error(self):
        stream = open_ranges(Place(LARGE[:-BLOCK_BYTES], is_like=LARGE).ranges)
        stream.seek(-10, os.SEEK_END)
        with pytest.raises(CorruptData):
            stream.read()

    def test_after_the_end_there_is_nothing(self):
        place = Place(b"data")
        stream = open_ranges(place.ranges)
        for at in (4, 5, 1 << 40):
            assert stream.seek(at) == at
            assert stream.read() == stream.read(5) == b""
            assert stream.readinto(bytearray(3)) == 0
        assert place.asked == []

    def test_before_the_beginning_cannot_be_sought(self):
        stream = open_ranges(Place(b"data").ranges)
        for offset, whence in ((-1, os.SEEK_SET), (-5, os.SEEK_END)):
            with pytest.raises(InvalidInput, match="nothing before its first byte"):
                stream.seek(offset, whence)
        with pytest.raises(ValueError):
            stream.seek(0, 7)
        assert stream.read() == b"data"


def test_an_empty_object_is_looked_at_once():
    place = Place(b"")
    stream = open_ranges(place.ranges)
    assert stream.read() == stream.read(10) == stream.read() == b""
    assert stream.seek(0, os.SEEK_END) == 0
    assert place.asked == [(0, None)]


def test_it_reads_like_any_binary_file():
    lines = [b"%d\n" % number for number in range(50_000)]
    stream = open_ranges(Place(b"".join(lines)).ranges)
    assert (stream.readable(), stream.seekable(), stream.writable()) == (True, True, False)
    buffer = bytearray(3)
    assert stream.readinto(buffer) == 3
    assert bytes(buffer) == b"0\n1"
    assert stream.read1(2) == b"\n2"
    assert stream.peek(1)[:1] == b"\n"
    stream.seek(0)
    assert list(stream) == lines
    stream.seek(0)
    assert next(io.TextIOWrapper(stream)) == "0\n"


def test_a_closed_stream_cannot_be_read_and_has_let_go():
    place = Place(LARGE)
    with open_ranges(place.ranges) as stream:
        stream.read(10)
        raw = stream.raw
    stream.close()
    assert place.closed == 1
    assert raw._blocks == {}
    for use in (stream.read, lambda: stream.seek(0), stream.tell, lambda: raw.read(1), lambda: raw.seek(0), raw.tell):
        with pytest.raises(ValueError, match="closed"):
            use()


@pytest.mark.long
def test_threads_share_a_stream_as_they_share_a_file():
    stream = open_ranges(Place(LARGE).ranges)
    with ThreadPoolExecutor(8) as pool:
        pieces = list(pool.map(lambda _: stream.read(10_001), range(len(LARGE) // 10_001 + 1)))
    starts = [LARGE.index(piece) for piece in pieces]
    assert b"".join(piece for _, piece in sorted(zip(starts, pieces, strict=True))) == LARGE


class TestLocalRanges:
    def test_stay_those_of_the_file_that_was_opened(self, tmp_path):
        path = tmp_path / "f"
        path.write_bytes(LARGE)
        stream = open_ranges(local_ranges(path, len(LARGE), hashlib.sha256(LARGE).hexdigest(), "f"))
        start = stream.read(1000)
        (tmp_path / "new").write_bytes(b"other")
        (tmp_path / "new").replace(path)
        assert start + stream.read() == LARGE

    def test_end_where_they_should(self, tmp_path):
        path = tmp_path / "f"
        path.write_bytes(LARGE)
        ranges = local_ranges(path, len(LARGE), hashlib.sha256(LARGE).hexdigest(), "f")
        assert ranges.get(5, 3_000_000) == LARGE[5:3_000_000]
        assert ranges.get(0, len(LARGE)) == LARGE
        ranges.close()
