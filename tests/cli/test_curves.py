from __future__ import annotations

import math

import pytest

from t9k.em.cli.curves import Curve, curves_of, ticks
from t9k.em.cli.views import View
from t9k.em.local.metrics import Entry


def curve(*values: float) -> Curve:
    return Curve(run="r", place="p", type="train", metric="loss", points=list(enumerate(values)))


def test_a_curve_has_gaps_where_values_cannot_be_drawn() -> None:
    made = curve(1, math.nan, 2, 3, math.inf, 10**400, 1e305, 4)
    assert list(made.segments(100)) == [[(0, 1)], [(2, 2), (3, 3)], [(7, 4)]]
    assert made.gaps == 4


def test_a_long_curve_keeps_its_extremes() -> None:
    values = [0.0] * 10_000
    values[5000], values[7000] = 9.0, -9.0
    (segment,) = curve(*values).segments(100)
    assert len(segment) <= 110
    assert {(5000, 9.0), (7000, -9.0)} <= set(segment)
    assert segment == sorted(segment)


def test_points_are_ordered_by_step_or_epoch() -> None:
    entries: list[Entry] = [
        {"value": {"loss": 1.0}, "sequence": {"step": 5, "epoch": 1}},
        {"value": {"loss": 2.0}, "sequence": {"step": 3}},
        {"value": {"loss": 3.0}, "sequence": {"step": 4, "epoch": 0}},
    ]
    view = View(place="p", kind="Run", metadata={"name": "r"}, metrics={"train": entries, "val": entries[1:2]})
    assert [made.points for made in curves_of([view], types=["train"])] == [[(3, 2.0), (4, 3.0), (5, 1.0)]]
    assert [made.points for made in curves_of([view], x="epoch")] == [[(0, 3.0), (1, 1.0)]]


@pytest.mark.parametrize(
    ("lower", "upper", "expected"),
    [
        (1, 1, [1]),
        (0, 4, [0, 1, 2, 3, 4]),
        (1, 30, [5, 10, 15, 20, 25, 30]),
        (-15, 15, [-15, -10, -5, 0, 5, 10, 15]),
        (0, 1000, [0, 200, 400, 600, 800, 1000]),
        (10**9, 10**9 + 3, [10**9, 10**9 + 1, 10**9 + 2, 10**9 + 3]),
    ],
)
def test_ticks_are_round_whole_numbers(lower: int, upper: int, expected: list[int]) -> None:
    assert ticks(lower, upper) == expected


def test_ticks_of_fractional_epochs_are_whole_epochs_around_them() -> None:
    assert ticks(0.125, 2.5) == [0, 1, 2, 3]
