from __future__ import annotations

import threading

import pytest

from t9k.em.parallel import in_parallel


def test_results_come_in_the_order_of_the_items():
    assert in_parallel(lambda number: number * 2, range(100), "test") == [number * 2 for number in range(100)]
    assert in_parallel(lambda number: number, [], "test") == []


def test_one_item_needs_no_thread():
    assert in_parallel(lambda _: threading.current_thread(), [1], "test") == [threading.current_thread()]


def test_no_more_threads_run_than_pay_off():
    names = in_parallel(lambda _: threading.current_thread().name, range(200), "test", lambda: 3)
    assert len(set(names)) <= 3


def test_threads_are_added_when_more_of_them_pay_off():
    wanted = [1]
    together = threading.Barrier(5)

    def work(number: int) -> None:
        if number == 0:
            wanted[0] = 5
        else:
            together.wait(60)  # which passes only when five run at once

    in_parallel(work, range(6), "test", lambda: wanted[0])
    assert not together.broken


def test_after_an_error_nothing_else_starts_and_what_runs_ends():
    started, ended = [], []
    failed = threading.Event()

    def work(number: int) -> None:
        started.append(number)
        if number == 1:
            failed.set()
            raise OSError("no")
        failed.wait(60)
        ended.append(number)

    with pytest.raises(OSError, match="no"):
        in_parallel(work, range(1000), "test", lambda: 2)
    assert sorted(started) == sorted([*ended, 1])
    assert len(started) < 1000


def test_an_interruption_waits_for_what_runs():
    ended = []

    def work(number: int) -> int:
        if number == 0:
            raise KeyboardInterrupt
        ended.append(number)
        return number

    with pytest.raises(KeyboardInterrupt):
        in_parallel(work, range(1000), "test", lambda: 2)
    threads = [thread.name for thread in threading.enumerate()]
    assert not any(name.startswith("em-test") for name in threads)
