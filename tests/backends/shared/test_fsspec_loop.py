"""What a process shares with its forks, and how much of an object is fetched ahead of who reads it."""

from __future__ import annotations

import contextlib
import os
import threading
import time

from t9k_em_backends.shared.fsspec_loop import PerProcess


class TestPerProcess:
    def test_a_fork_makes_one_of_its_own_for_all_its_threads(self, monkeypatch):
        made = []

        def make():
            made.append(object())
            time.sleep(0.05)
            return made[-1], None

        one = PerProcess(make)
        parents = one.get()
        asked, together = threading.local(), threading.Barrier(2)

        def getpid():
            """Both threads look at the same time, as often as they look."""
            asked.times = getattr(asked, "times", 0) + 1
            if asked.times <= 2:
                with contextlib.suppress(threading.BrokenBarrierError):
                    together.wait(0.5)
            return 1

        monkeypatch.setattr(os, "getpid", getpid)
        got = []
        threads = [threading.Thread(target=lambda: got.append(one.get())) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert got == [made[1]] * 2
        assert len(made) == 2
        assert parents not in got

    def test_the_next_one_is_made_after_it_was_closed(self):
        one = PerProcess(lambda: (object(), None))
        before = one.get()
        assert one.get() is before
        one.close()
        assert one.get() is not before
