"""The last and the best value of each metric of a run."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from attrs import frozen

_LOWER = ("error", "loss", "perplexity")
_LOWER_WORDS = frozenset(
    ["bpb", "bpc", "cer", "der", "err", "fid", "kl", "mae", "mape", "mse", "nll", "ppl", "rmse", "rmsle", "wer"]
)


@frozen(kw_only=True)
class Point:
    """One value of a metric.

    Attributes:
        value: The value.
        step: Where it was logged.
        epoch: Where it was logged, if given.
    """

    value: float
    step: int
    epoch: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON types, but for NaN and infinite values."""
        place: dict[str, Any] = {"step": self.step} if self.epoch is None else {"step": self.step, "epoch": self.epoch}
        return {"value": self.value, **place}


@frozen(kw_only=True)
class Summary:
    """One metric of one type.

    Attributes:
        type: For example 'train'.
        metric: For example 'loss'.
        count: How many values were logged.
        last: The one that was logged last.
        best: The smallest or largest finite value; None if no value is finite.
        lower: Whether the smallest is best.
    """

    type: str
    metric: str
    count: int
    last: Point
    best: Point | None
    lower: bool

    def to_dict(self) -> dict[str, Any]:
        """JSON types, but for NaN and infinite values."""
        return {
            "type": self.type,
            "metric": self.metric,
            "count": self.count,
            "last": self.last.to_dict(),
            "best": None if self.best is None else self.best.to_dict(),
            "best_is": "lowest" if self.lower else "highest",
        }


def lower_is_better(metric: str) -> bool:
    """Return whether a metric is, by its name, one that training makes smaller."""
    name = metric.casefold()
    return any(part in name for part in _LOWER) or not _LOWER_WORDS.isdisjoint(re.split(r"[^a-z]+", name))


def points(entries: Iterable[Mapping[str, Mapping[str, Any]]]) -> dict[str, list[Point]]:
    """Return the values of each metric of one type, in the order of logging."""
    found: dict[str, list[Point]] = {}
    for entry in entries:
        place = entry["sequence"]
        for metric, value in entry["value"].items():
            point = Point(value=value, step=place["step"], epoch=place.get("epoch"))
            found.setdefault(metric, []).append(point)
    return found


def summarize(metrics: Mapping[str, Sequence[Mapping[str, Mapping[str, Any]]]]) -> Iterator[Summary]:
    """Summaries of all metrics of a run.

    Args:
        metrics: By type, as `Run.metrics`.
    """
    for kind, entries in metrics.items():
        for metric, values in points(entries).items():
            lower = lower_is_better(metric)
            finite = [point for point in values if is_finite(point.value)]
            best = (min if lower else max)(finite, key=lambda point: point.value) if finite else None
            yield Summary(type=kind, metric=metric, count=len(values), last=values[-1], best=best, lower=lower)


def is_finite(value: float) -> bool:
    """Return whether a value is finite as a float: the largest integers are not."""
    try:
        return math.isfinite(value)
    except OverflowError:
        return False
