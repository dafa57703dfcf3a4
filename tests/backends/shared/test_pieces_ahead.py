"""Large objects in pieces take a bounded part of the memory that all share."""

from __future__ import annotations

from concurrent.futures import Future

import pytest

from t9k.em.memory.budget import Budget
from t9k_em_backends.shared.pieces_ahead import PIECE_BYTES, pieces_ahead


def test_a_reader_that_stops_in_the_middle_leaves_half_of_the_room_to_others():
    budget = Budget(4 * PIECE_BYTES)

    def fetch(start, stop):
        done: Future[bytes] = Future()
        done.set_result(bytes(stop - start))
        return done

    reading = pieces_ahead(fetch, 0, 8 * PIECE_BYTES, budget)
    assert len(next(reading)) == PIECE_BYTES
    assert budget.taken_bytes <= 2 * PIECE_BYTES
    budget.take(2 * PIECE_BYTES)
    budget.give(2 * PIECE_BYTES)
    assert sum(map(len, reading)) == 7 * PIECE_BYTES
    assert budget.taken_bytes == 0


def test_a_fetch_that_cannot_be_started_gives_all_memory_back():
    budget = Budget(8 * PIECE_BYTES)
    started: list[Future[bytes]] = []

    def fetch(start, stop):
        if len(started) == 2:
            raise RuntimeError("no more threads")
        started.append(Future())
        return started[-1]

    with pytest.raises(RuntimeError, match="no more threads"):
        next(pieces_ahead(fetch, 0, 8 * PIECE_BYTES, budget))
    assert budget.taken_bytes == 0
    assert all(future.cancelled() for future in started)


def test_memory_is_kept_until_a_fetch_that_cannot_be_cancelled_has_ended():
    budget = Budget(8 * PIECE_BYTES)
    futures: list[Future[bytes]] = []

    def fetch(start, stop):
        future: Future[bytes] = Future()
        future.set_running_or_notify_cancel()
        futures.append(future)
        if len(futures) == 1:
            future.set_result(bytes(stop - start))
        else:
            future.set_exception(OSError("too late"))
        return future

    reading = pieces_ahead(fetch, 0, 4 * PIECE_BYTES, budget)
    next(reading)
    reading.close()
    assert budget.taken_bytes == 0
