from __future__ import annotations

import threading

import pytest

from t9k_em_backends.shared.pacing import FEWEST, MOST, Budget, Pace


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def take(pace: Pace, clock: Clock, seconds: float) -> None:
    with pace.timed():
        clock.now_s += seconds


class TestPace:
    def test_a_store_nearby_gets_few_requests_at_a_time_and_one_far_away_many(self):
        near, far, very_far = (Clock() for _ in range(3))
        paces = [Pace(clock) for clock in (near, far, very_far)]
        for pace, clock, seconds in zip(paces, (near, far, very_far), (0.001, 0.03, 1), strict=True):
            assert pace.parallelism == FEWEST, "before anything is known"
            take(pace, clock, seconds)
        assert FEWEST <= paces[0].parallelism < FEWEST + 10
        assert paces[1].parallelism * (1 / 0.03) > 1000, "a thousand requests a second by Little's law"
        assert paces[2].parallelism == MOST

    def test_a_busy_store_does_not_look_far_away(self):
        clock = Clock()
        pace = Pace(clock)
        take(pace, clock, 0.001)
        for _ in range(100):
            take(pace, clock, 0.05)
        assert pace.parallelism < FEWEST + 10

    def test_a_way_that_became_longer_is_noticed(self):
        clock = Clock()
        pace = Pace(clock)
        take(pace, clock, 0.001)
        for _ in range(5000):
            take(pace, clock, 0.05)
        assert pace.parallelism > FEWEST + 100 or pace.parallelism == MOST

    def test_a_request_that_fails_tells_nothing(self):
        clock = Clock()
        pace = Pace(clock)
        take(pace, clock, 0.05)
        before = pace.parallelism
        with pytest.raises(OSError, match="no"), pace.timed():
            raise OSError("no")
        assert pace.parallelism == before


class TestBudget:
    def test_never_more_is_taken_than_there_is(self):
        budget = Budget(10)
        held, most, lock = [0], [0], threading.Lock()

        def work() -> None:
            for _ in range(200):
                with budget.holding(3):
                    with lock:
                        held[0] += 3
                        most[0] = max(most[0], held[0])
                    with lock:
                        held[0] -= 3

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert 3 <= most[0] <= 10
        assert budget.taken_bytes == 0

    def test_one_piece_that_is_larger_than_all_room_is_let_through_alone(self):
        budget = Budget(10)
        budget.take(100)
        assert not budget.try_take(1)
        budget.give(100)
        assert budget.try_take(1)

    def test_reading_ahead_leaves_half_of_it_to_others(self):
        budget = Budget(10)
        assert budget.try_take(5)
        assert not budget.try_take(1)
        budget.take(5)

    def test_a_thread_that_holds_some_never_waits_for_more(self):
        budget = Budget(10)
        with budget.holding(10):
            with budget.holding(10):
                assert not budget.try_take(1), "only waiting is spared, not the limit"
            budget.take(5)
        budget.give(5)
        assert budget.taken_bytes == 0

    def test_an_error_gives_room_back(self):
        budget = Budget(10)
        with pytest.raises(OSError, match="no"), budget.holding(10):
            raise OSError("no")
        assert budget.taken_bytes == 0
