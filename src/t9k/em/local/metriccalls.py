"""What becomes of a call of `log` that is not as it should be: what is left out, and how to write the call."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from t9k.em.errors import InvalidMetric
from t9k.em.plain import described
from t9k.em.warn import outside, warn_incomplete

MISSING: Any = object()
"""Stands for an argument that was not given."""

_MOST_TOLD = 1000
_MOST_SHOWN = 60


class LeftOut:
    """The metrics of one run that could not be recorded; each is told once, by its name."""

    def __init__(self) -> None:
        self._told: set[object] = set()

    def __call__(self, name: object, error: InvalidMetric) -> None:
        """Warn that a metric is left out, the first time."""
        if name not in self._told and len(self._told) < _MOST_TOLD:
            self._told.add(name)
            warn_incomplete(
                f"{error}; it is left out, here and wherever it is no number, and the others are logged", outside()
            )


def corrected(error: InvalidMetric, type: Any, metrics: Any, step: Any) -> InvalidMetric:
    """Return the error for a call whose arguments are in the order of another library, with the right call in it.

    Args:
        error: What else is wrong, for a call in the right order.
        type: First argument of `log`.
        metrics: Second one, or `MISSING`.
        step: Third one, or `MISSING`.
    """
    if isinstance(type, Mapping):  # as wandb.log and mlflow.log_metrics have it
        place = step if step is not MISSING else metrics if isinstance(metrics, int) else "step"
        return _instead("train", type, place, "the type of the metrics comes first")
    if not isinstance(type, str):
        return error
    if metrics is MISSING or not isinstance(metrics, Mapping):  # add_scalar(tag, value, step), log(name, value)
        value = 0.5 if metrics is MISSING or isinstance(metrics, (str, bytes)) else metrics
        place = "step" if step is MISSING else step
        return _instead("train", {type: value}, place, "metrics are a dict of names and numbers")
    if step is MISSING:
        return _instead(type, metrics, "step", "the step is missing")
    return error


def _instead(type: str, metrics: Any, step: Any, why: str) -> InvalidMetric:
    shown = described(dict(metrics))
    shown = shown if len(shown) <= _MOST_SHOWN else '{"loss": 0.5, ...}'
    place = step if isinstance(step, str) else described(step)
    return InvalidMetric(f"{why}; write run.log({type!r}, {shown}, step={place})")
