"""Curves of metrics: which there are, and how they are thinned to what a terminal can show."""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

from attrs import frozen

from t9k.em.cli.summary import is_finite, points
from t9k.em.cli.views import View

_DRAWABLE = 1e300  # beyond it, the distance of two values may not be finite

Pair = tuple[float, float]
"""Step or epoch, and value."""


@frozen(kw_only=True)
class Curve:
    """One metric of one type of one run.

    Attributes:
        run: Name of the run.
        place: Where it is.
        type: For example 'train'.
        metric: For example 'loss'.
        points: By step or epoch.
    """

    run: str
    place: str
    type: str
    metric: str
    points: Sequence[Pair]

    @property
    def gaps(self) -> int:
        """How many values cannot be drawn: NaN, infinite, or too large."""
        return sum(1 for _, value in self.points if not _is_drawable(value))

    def segments(self, most: int) -> Iterator[list[Pair]]:
        """Yield the parts of the curve between values that cannot be drawn.

        Args:
            most: About how many points the whole may have; of more, the extremes of each stretch are kept.
        """
        segment: list[Pair] = []
        stretch = max(1, 2 * len(self.points) // most)
        for place, value in (*self.points, (0, float("nan"))):
            if _is_drawable(value):
                segment.append((place, float(value)))
            elif segment:
                yield list(_thinned(segment, stretch))
                segment = []

    def to_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return {"run": self.run, "place": self.place, "type": self.type, "metric": self.metric, "points": self.points}


def curves_of(views: Iterable[View], *, types: Collection[str] = (), x: str = "step") -> list[Curve]:
    """Return the curves of runs.

    Args:
        views: The runs.
        types: Only these types; all by default.
        x: 'step' or 'epoch'; what was logged without an epoch is left out for the latter.
    """
    found = []
    for view in views:
        for kind, entries in view.metrics.items():
            if types and kind not in types:
                continue
            for metric, values in points(entries).items():
                pairs = [(getattr(point, x), point.value) for point in values if getattr(point, x) is not None]
                if pairs:
                    pairs.sort(key=lambda pair: pair[0])
                    found.append(Curve(run=view.name, place=view.place, type=kind, metric=metric, points=pairs))
    return found


def ticks(lower: float, upper: float, most: int = 8) -> list[int]:
    """Round numbers from `lower` to `upper` inclusive, at most about so many."""
    lower, upper = math.floor(lower), math.ceil(upper)
    distance, factors = 1, itertools.cycle((2, 2.5, 2))
    while (upper - lower) / distance > most:
        distance = int(distance * next(factors))
    first = -(-lower // distance) * distance
    return list(range(first, upper + 1, distance))


def _is_drawable(value: float) -> bool:
    return is_finite(value) and abs(value) < _DRAWABLE


def _thinned(segment: Sequence[Pair], stretch: int) -> Iterator[Pair]:
    for start in range(0, len(segment), stretch):
        part = segment[start : start + stretch]
        extremes = {min(part, key=lambda pair: pair[1]), max(part, key=lambda pair: pair[1])}
        yield from sorted(extremes)
