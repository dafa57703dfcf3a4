from __future__ import annotations

import threading
import warnings

import pytest

from t9k.em.capture.background import Background
from t9k.em.errors import IncompleteWarning


def test_the_result_of_a_collector():
    background = Background(lambda: {"a": 1})
    assert background.result(30) == {"a": 1}
    assert background.result(0) == {"a": 1}


def test_a_slow_collector_gives_nothing_yet():
    go_on = threading.Event()
    background = Background(lambda: {"done": go_on.wait(30)})
    assert background.result(0) == {}
    go_on.set()
    assert background.result(30) == {"done": True}


def test_a_collector_that_fails_is_told_once():
    background = Background(lambda: {"a": 1 // 0})
    with pytest.warns(IncompleteWarning, match="could not be recorded: ZeroDivisionError"):
        assert background.result(30) == {}
    assert background.result(30) == {}


def test_no_thread_to_be_had_is_told(monkeypatch):
    def start(_):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    background = Background(dict)
    with pytest.warns(IncompleteWarning, match="can't start new thread"):
        assert background.result(30) == {}


def test_a_process_does_not_wait_for_it():
    go_on = threading.Event()
    background = Background(lambda: {"done": go_on.wait(30)})
    (thread,) = [thread for thread in threading.enumerate() if thread is background._thread]
    assert thread.daemon
    go_on.set()


def test_what_takes_longer_comes_after_what_is_asked_for():
    go_on = threading.Event()
    done = []

    def later(found):
        go_on.wait(30)
        done.append(found)

    background = Background(lambda: {"a": 1}, then=later)
    assert background.result(30) == {"a": 1}
    assert done == []
    go_on.set()
    assert background.join(30) == {"a": 1}
    assert done == [{"a": 1}]


def test_what_comes_after_may_fail_as_well():
    background = Background(lambda: {"a": 1}, then=lambda found: found["b"])
    with pytest.warns(IncompleteWarning, match="could not be recorded: KeyError: 'b'"):
        assert background.join(30) == {"a": 1}
    assert background.join(30) == {"a": 1}


def test_what_comes_after_a_failure_gets_nothing():
    done: list[object] = []
    background = Background(lambda: {"a": 1 // 0}, then=done.append)
    with pytest.warns(IncompleteWarning, match="ZeroDivisionError"):
        assert background.join(30) == {}
    assert done == [{}]


def test_a_failure_is_no_error_where_warnings_are(caplog):
    background = Background(lambda: {"a": 1 // 0})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert background.result(30) == {}
    assert "could not be recorded: ZeroDivisionError" in caplog.text
