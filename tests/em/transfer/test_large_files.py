"""Large objects arrive whole, in memory that has an end, whatever the store does."""

from __future__ import annotations

import hashlib
import os
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from t9k.em.errors import BackendUnavailable, CorruptData
from t9k.em.names import new_op
from t9k.em.records import FileEntry
from t9k.em.transfer import large_files
from t9k.em.transfer.large_files import Pieces

SIZES = [0, 1, 999, 1000, 1001, 1999, 2000, 2001, 7000, 7500, 40_000]


class Store:
    """Objects in memory; `before` is called before each piece is given."""

    fills_buffers = True

    def __init__(self, objects=None, before=lambda key, start: None):
        self.objects = objects or {}
        self.before = before
        self.running = self.most = 0
        self._lock = threading.Lock()

    def read_into(self, key, start, buffer):
        with self._lock:
            self.running += 1
            self.most = max(self.most, self.running)
        try:
            self.before(key, start)
            data = self.objects[key][start : start + len(buffer)]
            buffer[: len(data)] = data
            return len(self.objects[key])
        finally:
            with self._lock:
                self.running -= 1


def wanted(store, key, data):
    file = FileEntry(key=key, op=new_op(), size=len(data), sha256=hashlib.sha256(data).hexdigest())
    return store, key, file


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(large_files, "PIECE_BYTES", 1000)
    monkeypatch.setattr(large_files, "MOST_PIECES", 4)
    monkeypatch.setattr(large_files, "BUFFER_BYTES", 999)
    monkeypatch.setattr(large_files, "MOST_SMALL", 3)


@pytest.fixture
def fetcher():
    with closing(Pieces()) as fetcher:
        yield fetcher


@pytest.fixture
def fetch(fetcher, tmp_path):
    """Fetches an object into a new file, and gives what is in it and the sizes that were told."""

    def fetch_one(object_, name="file"):
        fd = os.open(tmp_path / name, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        try:
            told = list(fetcher.fetch(*object_, fd, f"the {object_[1]}"))
        finally:
            os.close(fd)
        return (tmp_path / name).read_bytes(), told

    return fetch_one


@pytest.mark.parametrize("size", SIZES)
def test_an_object_arrives_whole(fetch, size):
    data = random.Random(size).randbytes(size)
    assert fetch(wanted(Store({"a": data}), "a", data))[0] == data


@pytest.mark.parametrize("size", SIZES)
def test_all_that_was_written_is_told(fetch, size):
    data = bytes(size)
    told = fetch(wanted(Store({"a": data}), "a", data))[1]
    assert sum(told) == size
    assert max(told, default=0) <= 1000


def test_pieces_may_arrive_in_any_order(fetch):
    data = random.Random(1).randbytes(9500)
    chance = random.Random(2)
    store = Store({"a": data}, lambda key, start: time.sleep(chance.random() / 100))
    assert fetch(wanted(store, "a", data))[0] == data
    assert 1 < store.most <= 4


@pytest.mark.parametrize("size", [500, 3500])
@pytest.mark.parametrize("there", ["shorter", "longer", "other"])
def test_what_is_not_what_was_uploaded_is_told(fetch, size, there):
    data = random.Random(size).randbytes(size)
    found = {"shorter": data[:-1], "longer": data + b"x", "other": data[:-1] + bytes([data[-1] ^ 1])}[there]
    with pytest.raises(CorruptData, match="the a is not what was uploaded"):
        fetch(wanted(Store({"a": found}), "a", data))


@pytest.mark.parametrize("size", [500, 9500])
def test_memory_is_given_back_after_a_failure(fetch, size):
    data = random.Random(size).randbytes(size)
    store = Store({"a": data}, lambda key, start: None)

    def fail(_, start):
        if start == size // 2000 * 1000:
            raise BackendUnavailable("away")

    for _ in range(5):
        store.before = fail
        with pytest.raises(BackendUnavailable):
            fetch(wanted(store, "a", data))
    store.before = lambda key, start: None
    assert fetch(wanted(store, "a", data))[0] == data


def test_memory_is_given_back_when_nobody_wants_the_rest(fetcher, fetch, tmp_path):
    data = random.Random(1).randbytes(9500)
    store = Store({"a": data})
    for _ in range(5):
        fd = os.open(tmp_path / "left", os.O_RDWR | os.O_CREAT)
        told = fetcher.fetch(*wanted(store, "a", data), fd, "the a")
        next(told)
        told.close()
        assert store.running == 0  # nothing writes to the descriptor any more
        os.close(fd)
    assert fetch(wanted(store, "a", data))[0] == data


def test_after_an_interruption_nobody_writes_any_more(fetch, monkeypatch):
    """In the frame that hashes, where the main thread of a download of one file mostly is."""

    class Interrupted:
        def __init__(self):
            self.left = 2

        def update(self, _):
            self.left -= 1
            if not self.left:
                raise KeyboardInterrupt

    data = bytes(9500)
    slow = threading.Event()
    store = Store({"a": data}, lambda key, start: slow.wait(0.2 if start > 1000 else 0))
    object_ = wanted(store, "a", data)
    monkeypatch.setattr(large_files.hashlib, "sha256", Interrupted)
    with pytest.raises(KeyboardInterrupt) as caught:
        fetch(object_)
    assert store.running == 0
    assert caught.traceback  # whose frames are alive


def test_without_threads_it_goes_one_after_the_other(fetch, monkeypatch):
    """And nothing that was left in a queue is written later, into whatever has the number of the file then."""
    data = random.Random(1).randbytes(9500)
    store = Store({"a": data})
    started: list[threading.Thread] = []
    start = threading.Thread.start

    def start_two(thread):
        if len(started) == 2:
            raise RuntimeError("can't start new thread")
        started.append(thread)
        start(thread)

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start_two)
        for _ in range(6):
            assert fetch(wanted(store, "a", data))[0] == data
    assert store.most == 1
    assert not any(thread.is_alive() for thread in started)


def test_many_large_objects_at_once_neither_mix_nor_wait_for_each_other(fetch):
    contents = {str(number): random.Random(number).randbytes(number % 5 * 1000 + 700) for number in range(40)}
    store = Store(contents)
    with ThreadPoolExecutor(16) as pool:
        running = {key: pool.submit(fetch, wanted(store, key, data), key) for key, data in contents.items()}
        for key, fetching in running.items():
            assert fetching.result(timeout=30)[0] == contents[key]
    assert store.most <= 4


def test_memory_is_used_again(fetcher, fetch, monkeypatch):
    made = []
    anonymous = large_files.anonymous
    monkeypatch.setattr(large_files, "anonymous", lambda size: made.append(1) or anonymous(size))
    data = random.Random(1).randbytes(20_000)
    for _ in range(3):
        fetch(wanted(Store({"a": data}), "a", data))
    assert 1 <= len(made) <= 4
