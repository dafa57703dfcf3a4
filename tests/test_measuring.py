"""A lock of coverage that its holder never gives back holds nobody up for ever."""

from __future__ import annotations

import sys

import pytest
from tests import measuring


def test_who_waits_too_long_goes_on_and_the_lock_is_free_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "PATIENCE_S", 0.01)
    lock = measuring.PatientLock()
    lock.acquire()
    lock.acquire()
    lock.release()
    lock.release()
    assert lock.acquire()


def test_a_measured_run_uses_it() -> None:
    coverage = sys.modules.get("coverage")
    running = coverage.Coverage.current() if coverage else None
    if running is None or running._collector is None:
        pytest.skip("this run is not measured")
    assert isinstance(running._collector.data_lock, measuring.PatientLock)
