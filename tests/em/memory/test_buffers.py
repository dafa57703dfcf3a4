"""Memory is used again when nobody has it any more, and never before."""

from __future__ import annotations

import gc
import os
import threading

import pytest

from t9k.em.memory import buffers
from t9k.em.memory.buffers import BUFFER_BYTES, MOST_IDLE, starts_page, take


@pytest.fixture(autouse=True)
def no_idle(monkeypatch):
    monkeypatch.setattr(buffers, "_idle", [])


def address(view: memoryview) -> int:
    import ctypes

    return ctypes.addressof(ctypes.c_char.from_buffer(view))


def test_a_buffer_begins_with_a_page_and_can_be_written_to():
    view = take()
    assert (len(view), view.format, view.readonly) == (BUFFER_BYTES, "B", False)
    assert starts_page(view)
    assert starts_page(view[buffers.PAGE_BYTES :])
    assert not starts_page(view[1:])
    view[:3] = b"abc"
    assert bytes(view[:4]) == b"abc\0"


def test_of_memory_that_cannot_be_written_to_nothing_is_known():
    assert not starts_page(memoryview(bytes(10)))


def test_what_nobody_has_serves_the_next():
    first = take()
    there = address(first)
    del first
    assert address(take()) == there


@pytest.mark.long
@pytest.mark.parametrize(
    "part", [lambda view: view[5:10], lambda view: view.cast("b"), lambda view: [view[:1]], memoryview]
)
def test_whoever_has_a_part_has_it_all(part):
    view = take()
    there = address(view)
    kept = part(view)
    del view
    gc.collect()
    other = take()
    assert address(other) != there
    del kept, other
    assert there in {address(view) for view in [take(), take()]}


def test_two_never_have_the_same():
    views = [take() for _ in range(5)]
    assert len({address(view) for view in views}) == 5


def test_threads_never_have_the_same():
    wrong = []

    def use(number: int) -> None:
        for _ in range(200):
            view = take()
            view[:8] = number.to_bytes(8, "big")
            if bytes(view[:8]) != number.to_bytes(8, "big"):
                wrong.append(number)

    threads = [threading.Thread(target=use, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_only_some_are_kept():
    views = [take() for _ in range(MOST_IDLE + 3)]
    del views
    assert len(buffers._idle) == MOST_IDLE


@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
def test_a_fork_writes_to_memory_of_its_own():
    view = take()
    view[:6] = b"parent"
    child = os.fork()
    if child == 0:
        view[:6] = b"child "
        os._exit(0)
    os.waitpid(child, 0)
    assert bytes(view[:6]) == b"parent"
