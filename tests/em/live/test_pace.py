"""How often a run writes: counted over hours of a clock of its own."""

from __future__ import annotations

import pytest

from t9k.em.live.pace import WriteQuota, interval_s

HOUR_S = 3600


@pytest.mark.parametrize(("age_s", "expected"), [(0, 1), (30, 1), (60, 1), (600, 10), (3600, 60), (10**6, 66)])
def test_the_pace_goes_from_a_second_to_a_minute(age_s, expected):
    assert interval_s(age_s) == expected


@pytest.mark.parametrize("at_once", [1, 2, 3, 8])
def test_writes_are_bounded_however_many_files_grow(at_once):
    now, pace = 0.0, WriteQuota(0.0)
    counts = [0] * 4
    while now < 4 * HOUR_S:
        pace.wrote(now, at_once)
        counts[int(now // HOUR_S)] += at_once
        now = pace.next
    assert counts[0] <= 400
    assert all(50 - at_once <= count <= 60 for count in counts[1:])


def test_a_round_in_a_hurry_is_within_the_bound_too():
    now, pace = 0.0, WriteQuota(0.0)
    count = 0
    while now < HOUR_S:
        if now >= pace.next or pace.may_hurry(now):
            pace.wrote(now, 1)
            count += 1
        now += 0.1
    assert count <= 400
